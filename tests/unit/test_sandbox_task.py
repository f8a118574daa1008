"""What a child is told: it arrives as it was sent."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datarun.contract.states import JobKind
from datarun.runner.sandbox.task import LOAD, Task

TASKS = st.builds(
    Task,
    kind=st.sampled_from([JobKind.FOLD, JobKind.PREPARE, LOAD]),
    memory=st.integers(0, 2**50),
    disk=st.integers(0, 2**50),
    soft=st.none() | st.floats(0, 1e9),
    threads=st.integers(1, 64),
    seed=st.integers(0, 2**64 - 1),
    source=st.text(),
    data_set=st.sampled_from(["csv", "module", "kit"]),
    target_column=st.text(),
    elements=st.lists(st.text()).map(tuple),
    held_out_test=st.none() | st.floats(0, 1),
    random_state=st.none() | st.integers(0, 2**32),
    arrays=st.dictionaries(st.text(), st.binary()),
)


@given(TASKS)
def test_a_task_arrives_as_it_was_sent(task: Task) -> None:
    assert Task.decode(task.encode()) == task


def test_indices_are_numbers_that_may_be_changed() -> None:
    rows = np.array([3, 1, 2**40])
    arrived = Task.decode(Task("fold", 1, 1, arrays={"rows": rows.astype("<i8").tobytes()}).encode()).indices(
        "rows"
    )
    np.testing.assert_array_equal(arrived, rows)
    assert arrived.flags.writeable
