"""A RabbitMQ broker of Debian's package: one node with its own name, ports, cookie and name server (epmd).

Started by the package's scripts below /usr/lib/rabbitmq, not by the ones on the PATH, which would switch to
the system-wide server's user, files and cookie.
"""

import json
import os
import secrets
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from tests.services import debian
from tests.services.server import Server, ServerError, free_port

SCRIPTS = Path("/usr/lib/rabbitmq/bin")
EPMD_TIMEOUT = 10.0  # seconds

CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{port}
"""


class RabbitMQ(Server):
    """A broker on its folder; `config` has more lines for rabbitmq.conf, such as ``consumer_timeout = 5000``.

    Only this machine's processes reach it, as guest with password guest. It keeps ports, queues and durable
    messages over `stop` or `kill` and `start`.
    """

    packages = ("rabbitmq-server (>= 3.10)",)  # quorum queues with a delivery limit and message TTL

    def __init__(self, folder: Path, config: str = "") -> None:
        super().__init__(folder)
        self.config = config
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker's URL for the default virtual host, ``/``."""
        return f"amqp://guest:guest@127.0.0.1:{self.remembered('ports')['amqp']}//"

    def vhost(self, name: str) -> str:
        """Makes a virtual host and returns its URL. Raises ServerError if the broker refuses."""
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": name}],
            "permissions": [{"user": "guest", "vhost": name, **everything}],
        }
        self.ctl("import_definitions", text=json.dumps(definitions))  # one call: each takes 0.4 s
        return f"{self.url.removesuffix('/')}{quote(name, safe='')}"

    def ctl(self, *arguments: str, text: str = "") -> str:
        """What ``rabbitmqctl`` answers for this broker, given `text` to read.

        Raises ServerError with its complaint if it fails.
        """
        done = subprocess.run(
            [SCRIPTS / "rabbitmqctl", "--quiet", *arguments],
            env=self.environment(), cwd=self.folder, input=text, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise ServerError(f"rabbitmqctl {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def sync(self) -> None:
        """Returns when every queue declared so far would outlive a `kill`.

        RabbitMQ 3.10 writes the registration of a quorum queue up to 3 s after it confirmed the declaration.
        Without it the queue has no leader after a crash, for ever: clients hang on it.
        """
        self.ctl("eval", "[ok = dets:sync(Table) || Table <- dets:all()].")

    @property
    def pids(self) -> list[int]:
        epmd = [] if self._epmd is None or self._epmd.poll() is not None else [self._epmd.pid]
        return super().pids + epmd

    def start(self) -> None:
        try:
            super().start()
        except BaseException:
            self._stop_epmd()
            raise

    def stop(self) -> None:
        super().stop()
        self._stop_epmd()

    def command(self) -> list[str]:
        return [str(SCRIPTS / "rabbitmq-server")]

    def environment(self) -> dict[str, str]:
        """Every path and port that would otherwise be the system-wide server's."""
        ports = self.remembered("ports")
        return super().environment() | {
            "HOME": str(self.folder),  # holds the cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": ports["epmd"],
            "RABBITMQ_NODENAME": f"datarun-{ports['amqp']}@localhost",
            "RABBITMQ_DIST_PORT": ports["distribution"],
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PLUGINS_DIR": str(self.folder / "plugins"),
            # One thread for Erlang code is enough for tests, and leaves the processors to them.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
        }

    def prepare(self) -> None:
        if not SCRIPTS.is_dir():
            raise ServerError(f"RabbitMQ is not installed: {debian.instruction(*self.packages)}")
        super().prepare()
        ports = self.remembered("ports", {name: free_port() for name in ("amqp", "distribution", "epmd")})
        (self.folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=ports["amqp"]) + self.config)
        (self.folder / "enabled_plugins").write_text("[].\n")
        self._prepare_cookie()
        self._prepare_plugins()
        self._start_epmd()

    def _prepare_cookie(self) -> None:
        """The secret of who may run code in the node."""
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(20))

    def _prepare_plugins(self) -> None:
        """A folder with the broker itself only.

        Every plugin in the folder is searched for every module that the start loads: with the package's 70,
        that takes 2 of 5 seconds.
        """
        plugins = self.folder / "plugins"
        plugins.mkdir(exist_ok=True)
        for path in SCRIPTS.parent.glob("lib/rabbitmq_server-*/plugins/rabbit-[0-9]*"):
            with suppress(FileExistsError):
                (plugins / path.name).symlink_to(path)

    def _start_epmd(self) -> None:
        """The name server, as a child: the one that Erlang starts by itself would outlive the broker."""
        if self._epmd is not None and self._epmd.poll() is None:
            return
        self._epmd = subprocess.Popen(
            ["epmd"], env=self.environment(), cwd=self.folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = int(self.remembered("ports")["epmd"])
        deadline = time.monotonic() + EPMD_TIMEOUT
        while self._epmd.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.01)  # epmd tells nobody when it listens
        self._stop_epmd()
        raise ServerError(f"epmd, Erlang's name server, does not start on port {port}.")

    def _stop_epmd(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()  # it keeps nothing
            self._epmd.wait()
            self._epmd = None
