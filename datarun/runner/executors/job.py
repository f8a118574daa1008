"""One order on its way through an executor to its result. Keeps what is known of it; runs and decides nothing."""

from dataclasses import dataclass, field
from typing import Any

from datarun.contract.failures import FailureKind
from datarun.contract.messages import HandedBack, Order, Outcome, Stopped
from datarun.contract.states import Stage
from datarun.runner.sandbox import run as sandbox
from datarun.runner.sandbox.log import clean
from datarun.runner.sandbox.warm import ZygoteError


@dataclass
class Job:
    """One order on its way to an outcome."""

    order: Order
    runner: str
    watcher: sandbox.Watcher
    failure: FailureKind | None = None
    message: str = ""
    stage: Stage = Stage.STARTED
    log: str = ""
    measures: dict[str, float] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    interrupt: sandbox.Interrupt | None = None
    # The most bytes of memory that a child of it had when it was done.
    left: int = 0

    def go_on(self) -> bool:
        """Whether to go on waiting for what the job needs."""
        self.interrupt = self.interrupt or self.watcher.tick()
        return self.interrupt is None

    def explained(self, error: ZygoteError) -> Exception:
        """Why a zygote could not do its work: perhaps nobody waited for it."""
        return error if self.interrupt is None else self.interrupted(self.interrupt)

    def interrupted(self, interrupt: sandbox.Interrupt) -> "Interrupted":
        ended = Stopped if interrupt is sandbox.Interrupt.STOP else HandedBack
        return Interrupted(ended(self.order.job, self.order.attempt, self.runner))

    def outcome(self) -> Outcome:
        return Outcome(
            job=self.order.job,
            attempt=self.order.attempt,
            runner=self.runner,
            failure=self.failure,
            stage=self.stage,
            message=clean(self.message),
            log=self.log,
            measures=self.measures,
            **(self.made if self.failure is None else {}),
        )


class Interrupted(Exception):
    """The job has ended without an outcome."""

    def __init__(self, result: Stopped | HandedBack) -> None:
        super().__init__(result)
        self.result = result
