"""The real platform for one trial after the other: servers of its own, web, two schedulers, three runners.

Each part can be killed, stopped and started again by name. As root, runners live on `Machine`s of their own.
"""

import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from datarun.contract import queues
from tests.acceptance.platform import PASSWORD, USER, Platform
from tests.services import Postgres, RabbitMQ

from . import isolation
from .isolation import Disk, Machine
from .ledger import Ledger, wait_for
from .workload import Client

_SLOTS = 2
_RUNNERS_DISK = 64 << 20  # bytes
_MASTERS_DISK = 256 << 20  # what all trials together leave there takes half of it
_BROKER_PORT = 5672  # on the switch


class Stack(Platform):
    """Processes are named scheduler-1, scheduler-2, runner-1 … and web.

    `isolated` says whether this process can make machines. With `consumer_timeout` (milliseconds) the broker takes
    messages back that are not acknowledged in time.
    """

    def __init__(
        self,
        folder: Path,
        isolated: bool,
        runners: int = 3,
        schedulers: int = 2,
        consumer_timeout: int | None = None,
    ) -> None:
        broker_config = ""
        if consumer_timeout is not None:
            broker_config += f"consumer_timeout = {consumer_timeout}\n"
            _look_at_timeouts_often(folder / "rabbitmq")
        if isolated:
            broker_config += (
                f"listeners.tcp.machines = {isolation.address(isolation.BROKER)}:{_BROKER_PORT}\n"
            )
            broker_config += "loopback_users.guest = false\n"
        self.rabbit = RabbitMQ(folder / "rabbitmq", broker_config)
        self.postgres = Postgres(folder / "postgres")
        self.machines: dict[str, Machine] = {}
        self.disks: dict[str, Disk] = {}
        self.isolated = isolated
        #: What of `tests.faults.sabotage` is done to schedulers that start from now on, if anything.
        self.sabotage = ""
        self.schedulers = [f"scheduler-{number + 1}" for number in range(schedulers)]
        self.runners = [f"runner-{number + 1}" for number in range(runners)]
        self.processes = {}
        #: Whether a fault left something behind that the next one must not meet.
        self.spoilt = False
        self._folder = folder
        self._tokens: dict[str, str] = {}

    def set_up_all(self) -> None:
        """Starts everything; returns when all of it serves."""
        self.postgres.start()
        self.rabbit.start()
        folder = self._folder / "platform"
        folder.mkdir(mode=0o711)
        super().__init__(folder, self.postgres.url, self.rabbit.url, ALLOWED_HOSTS="*", DR_SHARE="submission")
        self.ledger = Ledger(self.postgres.url)
        self.client: Client = (self.url, USER, PASSWORD)
        if self.isolated:
            self._make_machines()
        self.manage("migrate")
        self.ledger.set_up()
        self.manage("createuser", USER, "test@example.org", PASSWORD)
        self.start_web()
        for name in self.schedulers + self.runners:
            self.revive(name)
        self.wait_until_normal()
        self.rabbit.sync()

    def _make_machines(self) -> None:
        for number, name in enumerate(self.runners, start=1):
            self.machines[name] = Machine(number)
        self.disks["master"] = Disk(self.folder / "data" / "blobs", _MASTERS_DISK)
        self.disks[self.runners[-1]] = Disk(self.folder / self.runners[-1], _RUNNERS_DISK)

    def stop_everything(self) -> None:
        for process in self.processes.values():
            with suppress(psutil.Error):
                psutil.Process(process.pid).resume()
        self.stop_all()
        for machine in self.machines.values():
            machine.close()
        for disk in self.disks.values():
            disk.close()
        self.rabbit.stop()
        self.postgres.stop()

    # --- starting, by name -------------------------------------------------------------------------

    def start_web(self) -> None:
        port = self.environment["PORT"]
        binds = [f"127.0.0.1:{port}"]
        if self.isolated:
            binds.append(f"{isolation.address(isolation.MASTER)}:{port}")
        self.start("web", "gunicorn", *(part for bind in binds for part in ("--bind", bind)), "datarun.wsgi")
        wait_for(self._web_answers, "an answer of the web process")

    def revive(self, name: str, sabotage: str = "", **environment: str) -> None:
        """Starts the scheduler or runner with this name, as a service manager would after its death."""
        if name in self.schedulers:
            sabotage = sabotage or self.sabotage
        python = ("python", "-m", "tests.faults.sabotage", sabotage) if sabotage else ("python",)
        if name in self.schedulers:
            self.start(name, *python, "manage.py", "scheduler", **environment)
        else:
            self._start_runner(name, python, environment)

    def _start_runner(self, name: str, python: tuple[str, ...], environment: dict[str, str]) -> None:
        if name not in self._tokens:
            self._tokens[name] = self.manage("createrunner", name)
        environment["DR_RUNNER_TOKEN"] = self._tokens[name]
        for variable, folder in (("DIR_DATA", "data"), ("DIR_SUBMISSION", "submissions")):
            environment[variable] = str(self.folder / name / folder)
        prefix: tuple[str, ...] = ()
        if self.isolated:
            prefix = self.machines[name].prefix
            broker, master = isolation.address(isolation.BROKER), isolation.address(isolation.MASTER)
            environment["BROKER_URL"] = f"amqp://guest:guest@{broker}:{_BROKER_PORT}//"
            environment["MASTER_URL"] = f"http://{master}:{self.environment['PORT']}"
        options = (
            "-l",
            "info",
            "-n",
            runner_name(name),
            "-Q",
            ",".join(queues.ORDER_QUEUES),
            "-c",
            str(_SLOTS),
        )
        self.start(name, *prefix, *python, "-m", "celery", "-A", "datarun", "worker", *options, **environment)

    # --- breaking, by name -------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """kill -9 of the process alone: what it started is not touched."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def kill_web(self) -> None:
        """kill -9 of all web processes."""
        workers = psutil.Process(self.processes["web"].pid).children()
        self.kill("web")
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, 10)

    def pause(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def below(self, name: str, recursive: bool = True) -> list[psutil.Process]:
        """The processes that this one has started, and those below them."""
        return psutil.Process(self.processes[name].pid).children(recursive)

    # --- how it stands -------------------------------------------------------------------------------

    def active_scheduler(self) -> str:
        """The name of the scheduler that holds the lease."""

        def found() -> str | None:
            words = (self.ledger.active_scheduler() or "").split(":")
            return next((name for name in self.schedulers if self._pid(name) in words), None)

        return str(wait_for(found, "a scheduler that holds the lease"))

    def _pid(self, name: str) -> str:
        return str(self.processes[name].pid) if name in self.processes else "none"

    def wait_until_normal(self) -> None:
        """Returns when every process runs, a scheduler holds the lease and all runners are heard of."""
        wanted = {runner_name(name) for name in self.runners}

        def heard() -> bool:
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not dead, f"{', '.join(dead)} ended by itself\n{self.tails(dead)}"
            return wanted <= self.ledger.live_runners()

        wait_for(heard, "news of all runners")
        self.active_scheduler()

    def log_of_runners(self) -> str:
        return "".join((self.folder / f"{name}.log").read_text(errors="replace") for name in self.runners)

    def tails(self, names: Iterable[str], lines: int = 40) -> str:
        """The ends of these processes' logs."""
        texts = ((self.folder / f"{name}.log").read_text(errors="replace") for name in names)
        return "\n".join("\n".join(text.splitlines()[-lines:]) for text in texts)


def runner_name(name: str) -> str:
    """What the platform calls the runner."""
    return f"{name}@test"


def _look_at_timeouts_often(broker: Path) -> None:
    """Has RabbitMQ look for messages that are held for too long every second, not every minute."""
    broker.mkdir(mode=0o700)
    (broker / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 1000}]}].\n")
