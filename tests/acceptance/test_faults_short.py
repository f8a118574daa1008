"""The short version of the fault suite (`bin/test --faults`): kills and duplicates at once, and nothing is lost."""

from tests.faults.shovel import everything_twice
from tests.faults.stack import Stack
from tests.faults.trial import Trial
from tests.services import server_folder

SEED, FOLDS = 1, 100


def test_a_runner_and_the_scheduler_are_killed_while_every_message_comes_twice() -> None:
    with server_folder() as folder:
        stack = Stack(folder, isolated=False, runners=2)
        try:
            stack.set_up_all()
            lines: list[str] = []
            trial = Trial(stack, SEED, FOLDS, lines.append)
            with trial.strike("kills and duplicates") as fault, everything_twice(stack.rabbit):
                fault.orders_may_vanish = True
                victim, scheduler = fault.victim(), stack.active_scheduler()
                stack.kill(victim)
                stack.kill(scheduler)
                stack.revive(victim)
                stack.revive(scheduler)
                fault.wait_for_end()
        finally:
            stack.stop_everything()
