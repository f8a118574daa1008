"""Options and fixtures of the fault suite, and its last line."""

import shutil
from argparse import Namespace
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.services import Postgres, RabbitMQ, debian, server_folder

from .isolation import isolate
from .stack import Stack
from .trial import HEADER, Trial

Say = Callable[[str], None]

#: How many folds a fault strikes, and how many a missing guard.
FOLDS, FEW = 240, 120

_HERE = Path(__file__).parent
_SELF_CHECK = "test_self_check.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--seed", type=int, default=1, help="order of victims, and timing (default: 1)")
    group.addoption(
        "--folds", type=int, help=f"folds for each fault (default: {FOLDS}; {FEW} in the self-check)"
    )
    group.addoption("--self-check", action="store_true", help="take guards out: the suite must notice")
    group.addoption("--logs", type=Path, help="where to copy the logs of all processes after each fault")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "isolated: needs networks and disks of its own, so root on Linux")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only when asked for: an ordinary run has the short version in tests/acceptance."""
    asked = any(Path(argument.partition("::")[0]).resolve().is_relative_to(_HERE) for argument in config.args)
    if not asked:
        return True
    if collection_path.name.startswith("test_"):
        return (collection_path.name == _SELF_CHECK) != config.getoption("--self-check") or None
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


_FAILED = pytest.StashKey[bool]()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    count = {
        outcome: len(reporter.stats.get(outcome, ())) for outcome in ("passed", "failed", "error", "skipped")
    }
    for report in reporter.stats.get("skipped", ()):
        reporter.write_line(f"skipped: {report.nodeid}: {report.longrepr[2]}")
    reporter.write_line(f"{count['passed']} passed, {count['failed'] + count['error']} failed")


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """Writes a line to the terminal."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    return lambda line: reporter.write_line(line)


@pytest.fixture(scope="session")
def why_not_isolated() -> str:
    """Empty in networks and disks of its own; otherwise why there are none."""
    debian.ensure(*RabbitMQ.packages, *Postgres.packages)
    return isolate()


class Stacks:
    """One stack at a time: the same for all faults, until one was not survived."""

    def __init__(self, isolated: bool) -> None:
        self._isolated = isolated
        self._exits = ExitStack()
        self.current: Stack | None = None

    def ready(self) -> Stack:
        if self.current is None:
            self.current = self.new()
        return self.current

    def new(self, consumer_timeout: int | None = None) -> Stack:
        """Another one, in place of the current."""
        self.discard()
        folder = self._exits.enter_context(server_folder())
        self.current = stack = Stack(folder, self._isolated, consumer_timeout=consumer_timeout)
        self._exits.callback(stack.stop_everything)
        stack.set_up_all()
        return stack

    def discard(self) -> None:
        self.current = None
        self._exits.close()


@pytest.fixture(scope="session")
def stacks(why_not_isolated: str, say: Say) -> Iterator[Stacks]:
    made = Stacks(isolated=not why_not_isolated)
    say(HEADER)
    yield made
    made.discard()


@pytest.fixture
def trial(request: pytest.FixtureRequest, stacks: Stacks, why_not_isolated: str, say: Say) -> Iterator[Trial]:
    """A trial on the running stack; a fault that is not survived costs the stack."""
    if why_not_isolated and request.node.get_closest_marker("isolated"):
        pytest.skip(why_not_isolated)
    options = request.config.option
    yield Trial(stacks.ready(), options.seed, number_of_folds(options), say)
    if options.logs:
        _keep_logs(stacks, options.logs / request.node.name)
    if request.node.stash.get(_FAILED, False) or stacks.ready().spoilt:
        stacks.discard()


def number_of_folds(options: Namespace) -> int:
    return int(options.folds or (FEW if options.self_check else FOLDS))


def _keep_logs(stacks: Stacks, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    assert stacks.current is not None
    for log in stacks.current.folder.glob("*.log"):
        shutil.copy(log, folder)
