"""Preparing a data set: a csv's split to the row, what a custom module writes, and what is wrong with either."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from datarun.contract.messages import Data, Limits, Outcome, PrepareOrder
from tests.bench import ROOM, TOY, Bench, succeeded

IRIS = Path(__file__).parents[2] / "test_files" / "iris" / "iris.csv"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.serving(tmp_path) as bench:
        yield bench


def split(
    bench: Bench, content: str | bytes | Path, held_out_test: float = 0.2, target_column: str = "species"
) -> Outcome:
    data = Data(bench.files({"data.csv": content}), target_column)
    return bench.run(PrepareOrder("job", 1, data, ROOM, held_out_test, 42))


def prepare(bench: Bench, prepare_data: str, limits: Limits = ROOM, module: str = TOY) -> Outcome:
    """Prepares the toy data set, whose `prepare_data` has this body, with a raw file beside it."""
    module = module.replace(
        "def prepare_data(raw_data_path): pass", f"def prepare_data(path):\n{prepare_data}"
    )
    data = Data(bench.files({"toy.py": module, "raw.csv": "a,y\n"}), "y", module="toy.py")
    return bench.run(PrepareOrder("job", 1, data, limits))


@pytest.mark.parametrize(("held_out_test", "random_state"), [(0.2, 42), (0.37, 7)])
def test_a_csv_is_split_as_scikit_learn_splits_it(
    bench: Bench, held_out_test: float, random_state: int
) -> None:
    data = Data(bench.files({"iris.csv": IRIS}), "species")
    order = PrepareOrder("job", 1, data, ROOM, held_out_test, random_state)
    outcome = succeeded(bench.run(order))
    table = pd.read_csv(IRIS)
    expected = train_test_split(table, test_size=held_out_test, random_state=random_state)
    for name, part in zip(("train_rows", "test_rows"), expected, strict=True):
        rows = np.frombuffer(bench.blobs.contents[outcome.blobs[name]], dtype="<i8")
        pd.testing.assert_frame_equal(table.iloc[rows], part)
    assert outcome.counts == {"n_train": len(expected[0]), "n_test": len(expected[1])}
    assert sorted(bench.blobs.stored) == sorted(outcome.blobs.values())


@pytest.mark.parametrize(
    ("content", "target_column", "reason"),
    [
        (IRIS, "variety", "no column 'variety'"),
        (b"a,species\n1,2,3\n1,2,3,4\n", "species", "ParserError"),
        (b"\xff\xfe\x00a", "species", "UnicodeDecodeError"),
        (b"", "species", "EmptyDataError"),
        (b"a,species\n", "species", "ValueError"),
        (b"a,species\n1,2\n", "species", "ValueError"),
    ],
)
def test_data_that_can_not_be_split_are_the_organisers_to_mend(
    bench: Bench, content: bytes | Path, target_column: str, reason: str
) -> None:
    outcome = split(bench, content, target_column=target_column)
    assert outcome.failure == "data"
    assert reason in outcome.message
    assert bench.blobs.stored == []


def test_what_a_custom_module_writes_is_uploaded_and_what_was_there_is_not(bench: Bench) -> None:
    outcome = succeeded(
        prepare(
            bench,
            "    from pathlib import Path\n"
            "    folder = Path(path)\n"
            "    (folder / 'train.csv').write_text('train')\n"
            "    (folder / 'parts').mkdir()\n"
            "    (folder / 'parts' / 'test.bin').write_bytes(bytes(9))\n"
            "    (folder / 'link').symlink_to('/etc/passwd')\n"
            "    (folder / 'raw.csv').touch()\n",
        )
    )
    assert set(outcome.blobs) == {"train.csv", "parts/test.bin"}
    assert bench.blobs.contents[outcome.blobs["train.csv"]] == b"train"
    assert bench.blobs.contents[outcome.blobs["parts/test.bin"]] == bytes(9)
    assert sorted(bench.blobs.stored) == sorted(outcome.blobs.values())
    assert outcome.counts == {"n_train": 8, "n_test": 4}


def test_a_raw_file_that_a_custom_module_changes_is_changed_for_this_version_only(bench: Bench) -> None:
    outcome = succeeded(prepare(bench, "    open(path + '/raw.csv', 'a').write('1,2\\n')\n"))
    assert bench.blobs.contents[outcome.blobs["raw.csv"]] == b"a,y\n1,2\n"
    raw = bench.blobs.add(b"a,y\n")
    assert bench.store.read(raw) == b"a,y\n"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("    raise KeyError('colour')\n", "KeyError: 'colour'"),
        ("    raise SystemExit('enough')\n", "SystemExit: enough"),
        ("    open(path + '/missing')\n", "FileNotFoundError"),
    ],
)
def test_an_error_of_a_custom_module_is_the_organisers_with_its_traceback(
    bench: Bench, body: str, reason: str
) -> None:
    outcome = prepare(bench, body)
    assert outcome.failure == "data"
    assert outcome.message.splitlines()[1] == '  File "toy.py", line 5, in prepare_data'
    assert reason in outcome.message
    assert str(bench.scratch) not in outcome.message


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (TOY.replace("def get_test_data", "def get_tset_data"), "toy.py lacks the function get_test_data."),
        (TOY.replace("return list(range(4)), [0, 1] * 2", "return None"), "TypeError"),
        ("import unobtainable\n" + TOY, "No module named 'unobtainable'"),
        ("def prepare_data(:", "SyntaxError"),
    ],
)
def test_a_custom_module_that_breaks_its_promise_is_named(bench: Bench, module: str, reason: str) -> None:
    outcome = prepare(bench, "    pass\n", module=module)
    assert outcome.failure == "data"
    assert reason in outcome.message
    assert str(bench.scratch) not in outcome.message


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        ("    while True: pass\n", "timeout"),
        ("    import os; os._exit(3)\n", "data"),
        ("    import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n", "killed"),
    ],
)
def test_a_preparation_has_limits_too(bench: Bench, body: str, failure: str) -> None:
    assert prepare(bench, body, Limits(wall=5.0, memory=1 << 30)).failure == failure


def test_data_that_changed_since_their_preparation_are_the_organisers_to_mend(bench: Bench) -> None:
    data = Data(bench.files({"toy.py": TOY}), "y", module="toy.py", n_train=9, n_test=4)
    outcome = bench.run(bench.fold(data, ("classifier",), {"classifier.py": ""}, np.arange(3)))
    assert outcome.failure == "data"
    assert "8 train" in outcome.message


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped", "", "."])
def test_an_unsafe_file_name_is_refused(bench: Bench, name: str) -> None:
    data = Data(bench.files({"raw.csv": "a,y\n", name: "x"}), "y")
    outcome = bench.run(PrepareOrder("job", 1, data, ROOM, 0.2, 42))
    assert outcome.failure == "data"
    assert repr(name) in outcome.message


def test_a_blob_that_the_master_does_not_have_is_our_own_failure(bench: Bench) -> None:
    outcome = bench.run(PrepareOrder("job", 1, Data({"raw.csv": "0" * 64}, "y"), ROOM, 0.2, 42))
    assert outcome.failure == "environment"
    assert "0" * 64 in outcome.message


def test_a_blob_that_arrives_damaged_is_our_own_failure(bench: Bench) -> None:
    sha256 = bench.blobs.add(b"a,y\n1,2\n")
    bench.blobs.contents[sha256] = b"a,y\n1,3\n"
    outcome = bench.run(PrepareOrder("job", 1, Data({"raw.csv": sha256}, "y"), ROOM, 0.2, 42))
    assert outcome.failure == "environment"
    assert "damaged" in outcome.message
