"""Each fault in turn: whatever breaks, every fold ends once, right, and for a reason.

What a fault may cost is said in it: only attempts on a runner among its `victims` may be lost.
"""

from contextlib import suppress

import psutil
import pytest

from datarun.contract import queues

from . import isolation, shovel
from .ledger import wait_for
from .sabotage import CLOCK_VARIABLE
from .stack import Stack, runner_name
from .trial import Fault, Trial

#: Within so many seconds the stand-by must do what a scheduler that hangs does not.
_TAKEOVER = 15.0
#: A runner that is silent for longer than its lease is taken for dead.
_BEYOND_LEASE = (17.0, 20.0)


# --- runners ---------------------------------------------------------------------------------------------


def test_kill_9_a_runner(trial: Trial) -> None:
    with trial.strike("kill -9 a runner") as fault:
        victim = fault.victim()
        orphans = fault.stack.below(victim)
        fault.stack.kill(victim)
        wait_for(lambda: not any(map(_runs, orphans)), 5, "the end of the dead runner's folds")
        fault.wait(2, 6)
        fault.stack.revive(victim)


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def test_kill_9_the_children_of_folds(trial: Trial) -> None:
    with trial.strike("kill -9 folds' children, five times") as fault:
        for _ in range(5):
            wait_for(lambda: _kill_a_child(fault), 20, "a fold's child to kill")
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
    with trial.strike("SIGSTOP a runner beyond its lease", long=3) as fault:
        stop_a_runner_beyond_its_lease(fault)


def stop_a_runner_beyond_its_lease(fault: Fault) -> None:
    """It wakes, with outcomes, when another runner has begun with what it ran."""
    victim = fault.victim(fault.long)
    ids = fault.running_on(victim, fault.long)
    fault.stack.pause(victim)
    others = [name for name in fault.stack.runners if name != victim]
    wait_for(lambda: any(fault.running_on(name, ids) for name in others), 30, "another attempt at its folds")
    fault.stack.resume(victim)


# --- schedulers ------------------------------------------------------------------------------------------


def test_kill_9_the_active_scheduler_many_times(trial: Trial) -> None:
    with trial.strike("kill -9 the active scheduler, four times") as fault:
        fault.orders_may_vanish = True
        for _ in range(4):
            name = fault.stack.active_scheduler()
            fault.stack.kill(name)
            fault.wait(0.5, 3)
            fault.stack.revive(name)


def test_schedulers_die_between_commit_and_acknowledgement(trial: Trial) -> None:
    with trial.strike("schedulers die between commit and ack") as fault:
        die_at_acknowledgements(fault, "die_at_acknowledgement")


def die_at_acknowledgements(fault: Fault, how: str) -> None:
    """Both schedulers are such that die at an acknowledgement; one that has died is started again, six times."""
    fault.orders_may_vanish = True
    _replace_schedulers(fault.stack, how)
    for _ in range(6):
        name = wait_for(lambda: _dead_scheduler(fault.stack), 30, "the death of a scheduler")
        fault.stack.kill(str(name))
        fault.stack.revive(str(name), how)
    _replace_schedulers(fault.stack, "")


def _replace_schedulers(stack: Stack, sabotage: str) -> None:
    for name in stack.schedulers:
        stack.kill(name)
        stack.revive(name, sabotage)


def _dead_scheduler(stack: Stack) -> str | None:
    return next((name for name in stack.schedulers if stack.processes[name].poll() is not None), None)


def test_the_active_scheduler_is_stopped(trial: Trial) -> None:
    with trial.strike("SIGSTOP the active scheduler") as fault:
        stopped = fault.stack.active_scheduler()
        fault.stack.pause(stopped)
        wait_for(lambda: fault.stack.active_scheduler() != stopped, _TAKEOVER, "a new active scheduler")
        fault.notes.append(f"stand-by after {fault.seconds():.1f} s")
        _expect_outcomes(fault)
        fault.wait(1, 5)
        fault.stack.resume(stopped)


def _expect_outcomes(fault: Fault) -> None:
    """Outcomes are collected again soon after the fault."""

    def collected() -> bool:
        # What was already on its way when the fault struck proves nothing.
        return fault.stack.ledger.first_end_after(fault.ids, fault.struck_at + 1) is not None

    wait_for(collected, _TAKEOVER - fault.seconds() + 1, "an outcome that is collected")
    fault.notes.append(f"outcomes after {fault.seconds():.1f} s")


# --- the broker ------------------------------------------------------------------------------------------


def test_kill_9_rabbitmq(trial: Trial) -> None:
    with trial.strike("kill -9 RabbitMQ") as fault:
        fault.stack.rabbit.kill()
        fault.wait(1, 8)
        fault.stack.rabbit.start()


def test_the_broker_runs_out_of_memory(trial: Trial) -> None:
    with trial.strike("the broker under a memory alarm") as fault:
        rabbit = fault.stack.rabbit
        rabbit.ctl("set_vm_memory_high_watermark", "0.0001")
        wait_for(lambda: "memory" in rabbit.ctl("eval", "rabbit_alarm:get_alarms()."), 20, "the memory alarm")
        fault.wait(20, 25)
        rabbit.ctl("set_vm_memory_high_watermark", "0.4")


def test_every_message_comes_twice(trial: Trial) -> None:
    with (
        trial.strike("every message is delivered twice") as fault,
        shovel.everything_twice(fault.stack.rabbit),
    ):
        fault.wait_for_end()


def test_garbage_in_every_queue(trial: Trial) -> None:
    with trial.strike("garbage in every queue") as fault:
        names = [*queues.ORDER_QUEUES, *queues.COLLECTED, queues.PARKED]
        names += [queues.control(runner_name(name)) for name in fault.stack.runners]
        sent = shovel.garbage(fault.stack.rabbit, names, fault.rng)
        fault.notes.append(f"{sent} messages of garbage")
        fault.stack.spoilt = True  # orders of a later version stay in their queues


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
    with trial.strike("web is down while blobs are wanted") as fault:
        fault.stack.kill_web()
        fault.wait(8, 12)
        fault.stack.start_web()


# --- links and disks -------------------------------------------------------------------------------------


@pytest.mark.isolated
def test_the_link_between_a_runner_and_the_broker_is_cut(trial: Trial) -> None:
    with trial.strike("the link runner-broker is cut") as fault:
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
    with trial.strike("the link runner-master is cut") as fault:
        name = fault.rng.choice(fault.stack.runners)  # nothing may be lost
        fault.stack.machines[name].pull(isolation.MASTER)
        fault.wait(10, 14)
        fault.stack.machines[name].plug(isolation.MASTER)


@pytest.mark.isolated
def test_a_runners_disk_is_full(trial: Trial) -> None:
    with trial.strike("a runner's disk is full") as fault:
        name = fault.stack.runners[-1]
        fault.victims.add(runner_name(name))
        fault.stack.disks[name].fill()
        fault.wait(8, 12)
        fault.stack.disks[name].free()


@pytest.mark.isolated
def test_the_masters_blob_folder_is_full(trial: Trial) -> None:
    with trial.strike("the master's blob folder is full") as fault:
        fault.stack.disks["master"].fill()
        fault.wait(8, 12)
        fault.stack.disks["master"].free()


# --- clocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [3600, -3600], ids=["ahead", "back"])
def test_a_clock_jumps_by_an_hour(trial: Trial, seconds: int) -> None:
    """The clocks of one runner and of the active scheduler, while they work."""
    stack = trial.stack
    clock = stack.folder / f"clock{seconds}"
    names = [stack.active_scheduler(), stack.runners[0]]
    for name in names:
        stack.stop(name)
        stack.revive(name, "wrong_clock", **{CLOCK_VARIABLE: str(clock)})
    with trial.strike(f"clocks jump by {seconds:+} s") as fault:
        clock.with_suffix(".new").write_text(str(seconds))
        clock.with_suffix(".new").rename(clock)
        fault.wait(10, 15)
    for name in names:
        stack.stop(name)
        stack.revive(name)
