"""Executors: an order in, stages on the way, one result out."""

from typing import Protocol

from datarun.contract.messages import Order, Result
from datarun.runner.sandbox.run import Watcher


class Executor(Protocol):
    """Something that can run orders. It raises nothing: whatever happens is a result."""

    def run(self, order: Order, runner: str, watcher: Watcher) -> Result:
        """Runs `order` to its end; `runner` signs the outcome."""
