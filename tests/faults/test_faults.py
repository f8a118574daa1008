"""Each fault in turn: whatever breaks, every fold ends once, right, and for a reason.

What a fault may cost is said in it: only attempts on a runner among its `victims` may be lost, and one must be. A
fault that takes no runner proves in some other way that it has struck.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from datarun.contract import queues

from . import isolation, shovel
from .ledger import wait_for
from .sabotage import CLOCK_VARIABLE, SEED_VARIABLE
from .stack import Stack, runner_name
from .trial import Fault, Trial

#: Who is silent for longer than a lease, of 12 seconds, is taken for dead.
_BEYOND_LEASE = (14.0, 16.0)


# --- runners ---------------------------------------------------------------------------------------------


def test_kill_9_a_runner(trial: Trial) -> None:
    with trial.strike("kill -9 a runner") as fault:
        victim = fault.victim()
        orphans = fault.stack.below(victim)
        killed_at = fault.seconds()
        fault.stack.kill(victim)
        fault.expect(lambda: not any(map(_runs, orphans)), "its folds' processes ended", killed_at)
        fault.expect(lambda: not fault.running_on(victim), "its death was found", killed_at)
        fault.stack.revive(victim)


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def test_kill_9_the_children_of_folds(trial: Trial) -> None:
    with trial.strike("kill -9 folds' children, five times") as fault:
        for _ in range(5):
            wait_for(lambda: _kill_a_child(fault), "a fold's child to kill")
            fault.wait(0.2, 1)


def _kill_a_child(fault: Fault) -> bool:
    """Kills the process of one running fold, below the one that keeps it; returns whether there was one."""
    victim = fault.victim()
    keepers = fault.stack.below(victim, recursive=False)
    with suppress(psutil.NoSuchProcess):
        children = [child for keeper in keepers for child in keeper.children()]
        if children:
            fault.rng.choice(children).kill()
            return True
    return False


def test_a_runner_stops_beyond_its_lease_and_goes_on(trial: Trial) -> None:
    """It wakes with outcomes, because the folds themselves went on, while another runner runs the same folds."""
    with trial.strike("SIGSTOP a runner beyond its lease", long=3, nap=4.0) as fault:
        fault.orders_may_vanish = True  # the broker may have given it one
        victim = fault.victim(fault.long)
        ids = fault.running_on(victim, fault.long)
        fault.stack.pause(victim)
        others = [name for name in fault.stack.runners if name != victim]
        wait_for(lambda: any(fault.running_on(name, ids) for name in others), "another attempt")
        fault.wait(3, 5)
        fault.stack.resume(victim)


# --- schedulers ------------------------------------------------------------------------------------------


def test_kill_9_the_active_scheduler_many_times(trial: Trial) -> None:
    with trial.strike("kill -9 the active scheduler, four times") as fault:
        fault.orders_may_vanish = True
        for _ in range(4):
            name = fault.stack.active_scheduler()
            fault.wait(0, 1.5)  # it has begun to dispatch
            fault.stack.kill(name)
            fault.wait(0, 1.5)
            fault.stack.revive(name)


def test_schedulers_die_between_commit_and_acknowledgement(trial: Trial) -> None:
    with trial.strike("schedulers die between commit and ack") as fault:
        die_at_acknowledgements(fault, "die_at_acknowledgement", deaths=5)


def die_at_acknowledgements(fault: Fault, how: str, deaths: int) -> None:
    """Both schedulers are such that die at an acknowledgement; one that has died is started again."""
    fault.orders_may_vanish = True
    replace_schedulers(fault, how)
    for _ in range(deaths):
        name = wait_for(lambda: _dead_scheduler(fault.stack), "the death of a scheduler")
        fault.stack.kill(str(name))
        _revive(fault, str(name), how)
    replace_schedulers(fault, "")


def replace_schedulers(fault: Fault, sabotage: str) -> None:
    for name in fault.stack.schedulers:
        fault.stack.kill(name)
        _revive(fault, name, sabotage)


def _revive(fault: Fault, name: str, sabotage: str) -> None:
    fault.stack.revive(name, sabotage, **{SEED_VARIABLE: str(fault.rng.random())})


def _dead_scheduler(stack: Stack) -> str | None:
    return next((name for name in stack.schedulers if stack.processes[name].poll() is not None), None)


def test_the_active_scheduler_is_stopped(trial: Trial) -> None:
    with trial.strike("SIGSTOP the active scheduler") as fault:
        stopped = fault.stack.active_scheduler()
        fault.stack.pause(stopped)
        fault.expect(lambda: fault.stack.active_scheduler() != stopped, "the stand-by worked", since=0)
        _expect_reaping(fault)
        _expect_outcomes(fault)
        fault.wait(1, 5)
        fault.stack.resume(stopped)


def _expect_reaping(fault: Fault) -> None:
    """A job that has outlived its deadline is found, whatever holds the scheduler up."""
    fault.overdue.add(late := fault.stack.ledger.outlive(set(fault.ids) - set(fault.long)))
    fault.expect(lambda: not fault.stack.ledger.left([late]), "a job that was overdue ended")


def _expect_outcomes(fault: Fault) -> None:
    """Outcomes are collected again soon after the fault."""

    def collected() -> bool:
        # What was already on its way when the fault struck proves nothing.
        ids = list(set(fault.ids) - fault.overdue)
        return fault.stack.ledger.first_end_after(ids, fault.struck_at + 1) is not None

    fault.expect(collected, "an outcome was collected", since=0)


# --- the broker ------------------------------------------------------------------------------------------


def test_kill_9_rabbitmq(trial: Trial) -> None:
    """For so long that no lease could be renewed; folds run on meanwhile, and their outcomes count."""
    with trial.strike("kill -9 RabbitMQ", long=2) as fault:
        fault.stack.rabbit.kill()
        _expect_reaping(fault)
        fault.wait(*_BEYOND_LEASE)
        fault.stack.rabbit.start()


def test_the_broker_runs_out_of_memory(trial: Trial) -> None:
    """It accepts nothing for so long that no lease could be renewed."""
    with trial.strike("the broker under a memory alarm") as fault:
        rabbit = fault.stack.rabbit
        rabbit.ctl("set_vm_memory_high_watermark", "0.0001")
        wait_for(lambda: "memory" in rabbit.ctl("eval", "rabbit_alarm:get_alarms()."), "the memory alarm")
        _expect_reaping(fault)
        fault.wait(*_BEYOND_LEASE)
        rabbit.ctl("set_vm_memory_high_watermark", "0.4")


def test_every_message_comes_twice(trial: Trial) -> None:
    with (
        trial.strike("every message is delivered twice") as fault,
        shovel.everything_twice(fault.stack.rabbit) as copier,
    ):
        fault.wait_for_end()
        fault.notes.append(f"{copier.copied} copies")
        assert copier.copied > len(fault.ids)


# --- database and web ------------------------------------------------------------------------------------


def test_postgresql_restarts_in_the_middle_of_collection(trial: Trial) -> None:
    with trial.strike("PostgreSQL restarts amid collection") as fault:
        fault.orders_may_vanish = True
        for kill in (False, True):
            fault.stack.ledger.wait_for_collection()
            if kill:
                fault.stack.postgres.kill()
                fault.wait(0, 3)
                fault.stack.postgres.start()
            else:
                fault.stack.postgres.restart()
            fault.wait(1, 3)


def test_web_is_down_while_blobs_are_wanted(trial: Trial) -> None:
    with trial.strike("web is down while blobs are wanted") as fault, _transfers_fail(fault):
        fault.stack.kill_web()
        fault.wait(6, 9)
        fault.stack.start_web()


@contextmanager
def _transfers_fail(fault: Fault, answer: str = "can't be reached") -> Iterator[None]:
    """What runners want of the master meanwhile is not to be had, and they try again."""
    before = _failed_transfers(fault, answer)
    yield
    failed = _failed_transfers(fault, answer) - before
    assert failed, "no runner wanted anything of the master"
    fault.notes.append(f"{failed} transfers failed")


def _failed_transfers(fault: Fault, answer: str) -> int:
    return len(re.findall(f"the master at .*{answer}.*; trying again", fault.stack.log_of_runners()))


# --- links and disks -------------------------------------------------------------------------------------


@pytest.mark.isolated
def test_the_link_between_a_runner_and_the_broker_is_cut(trial: Trial) -> None:
    with trial.strike("the link runner-broker is cut") as fault:
        fault.orders_may_vanish = True  # the broker may have given it one
        victim = fault.victim()
        fault.stack.machines[victim].pull(isolation.BROKER)
        fault.wait(*_BEYOND_LEASE)
        fault.stack.machines[victim].plug(isolation.BROKER)


@pytest.mark.isolated
def test_the_link_between_a_runner_and_the_broker_is_cut_for_a_moment(trial: Trial) -> None:
    with trial.strike("the link runner-broker is cut for a moment") as fault:
        name = fault.rng.choice(fault.stack.runners)  # nothing may be lost
        fault.stack.machines[name].pull(isolation.BROKER)
        fault.wait(2, 4)
        fault.stack.machines[name].plug(isolation.BROKER)


@pytest.mark.isolated
def test_the_link_between_a_runner_and_the_master_is_cut(trial: Trial) -> None:
    """What it runs waits, as for a master that is slow."""
    with trial.strike("the link runner-master is cut") as fault:
        name = fault.rng.choice(fault.stack.runners)  # nothing may be lost
        fault.stack.machines[name].pull(isolation.MASTER)
        wait_for(lambda: fault.running_on(name, seconds=5), "a fold that waits for the master")
        fault.wait(2, 4)
        fault.stack.machines[name].plug(isolation.MASTER)


@pytest.mark.isolated
def test_a_runners_disk_is_full(trial: Trial) -> None:
    with trial.strike("a runner's disk is full") as fault:
        name = fault.stack.runners[-1]
        fault.victims.add(runner_name(name))
        for _ in range(8):  # a job that ends gives back what the next one needs
            fault.stack.disks[name].fill()
            fault.wait(0.7, 1.2)
        fault.stack.disks[name].free()


@pytest.mark.isolated
def test_the_masters_blob_folder_is_full(trial: Trial) -> None:
    with trial.strike("the master's blob folder is full") as fault, _transfers_fail(fault, "answers 500"):
        fault.stack.disks["master"].fill()
        fault.wait(8, 12)
        fault.stack.disks["master"].free()


# --- clocks ----------------------------------------------------------------------------------------------


def test_clocks_jump_by_an_hour(trial: Trial) -> None:
    """Those of one runner and of the active scheduler, ahead and back, while they work."""
    stack, file = trial.stack, trial.stack.folder / "clock"
    active, stand_by, runner = names = *stack.schedulers, stack.runners[0]
    for name in names:
        stack.stop(name)
    for name in (active, runner):
        stack.revive(name, "wrong_clock", **{CLOCK_VARIABLE: str(file)})
    assert stack.active_scheduler() == active
    stack.revive(stand_by)
    with trial.strike("clocks jump ahead and back by an hour") as fault:
        for seconds in ("3600", "-3600"):
            (new := file.with_suffix(".new")).write_text(seconds)
            new.rename(file)
            readers = f"{file.name} {seconds} *"
            wait_for(lambda: len(list(stack.folder.glob(readers))) == 2, "wrong clocks")  # noqa: B023
            fault.wait(5, 7)
        file.unlink()


# --- last, because of what it leaves behind ----------------------------------------------------------------


def test_garbage_in_every_queue(trial: Trial) -> None:
    with trial.strike("garbage in every queue") as fault:
        fault.garbage = True
        names = [*queues.ORDER_QUEUES, *queues.COLLECTED, queues.PARKED]
        names += [queues.control(runner_name(name)) for name in fault.stack.runners]
        sent = shovel.garbage(fault.stack.rabbit, names, fault.rng)
        fault.notes.append(f"{sent} messages of garbage")
        fault.stack.spoilt = True  # orders of a later version stay in their queues
