"""A machine with Docker, Compose and a checkout, as a person has it who runs datarun in containers.

It is a machine of tests.deploy, with the engine and the Compose of Debian 13. No registry of images is asked: the
Dockerfile's base is a tree of debootstrap, and `images` makes stand-ins for the others. What the engine keeps is in
memory, and gone with the machine.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.acceptance.platform import CHECKOUT, wait_until
from tests.deploy.machines import Machine, debian_tree, run

ADDRESS = "10.88.0.20"
_SUITE = "trixie"
_ENGINE = (
    "ca-certificates,docker-cli,docker-compose,docker.io,iproute2,iptables,openssh-server,openssl,procps"
)
_IMAGE = "ca-certificates,python3-venv"
_ARCHIVE = "srv/image.tar"
_FOLDER = "srv/datarun"
_BASE = "debian-tree"  # what the stand-ins begin with
# Ends the containers, and the control groups that would stay with this machine's kernel.
_END = """
docker ps --quiet | xargs -r docker rm --force >/dev/null
find /sys/fs/cgroup/docker -depth -type d -exec rmdir {} +
"""


class Engine:
    """What is typed in the checkout of `machine`."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.checkout = machine, machine.tree / _FOLDER

    def run(self, *command: str) -> str:
        """What a command says, typed in the checkout."""
        return self.machine.run("sh", "-c", f'cd /{_FOLDER} && exec "$@"', "sh", *command)

    def write(self, name: str, content: str) -> None:
        """Writes a file in the checkout."""
        self.run("sh", "-c", 'printf %s "$2" >"$1"', "sh", name, content)

    def containers(self) -> dict[str, str]:
        """The services that run: each one's container, and since when it does."""
        form = '{{index .Config.Labels "com.docker.compose.service"}} {{.Id}} {{.State.StartedAt}}'
        ids = self.run("docker", "ps", "--quiet").split()
        lines = self.run("docker", "inspect", "--format", form, *ids).splitlines() if ids else []
        return {service: rest for service, _, rest in (line.partition(" ") for line in lines)}


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """The machine while it lasts, its engine up, and all images there but datarun's own."""
    key = folder / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    machine = Machine(folder, debian_tree(f"{_SUITE}-docker-1", _SUITE, _ENGINE), "docker", ADDRESS, key)
    _copy_checkout(machine.tree / _FOLDER)
    image = debian_tree(f"{_SUITE}-image-1", _SUITE, _IMAGE)
    run("tar", "-C", str(image), "-cf", str(machine.tree / _ARCHIVE), ".")
    with ExitStack() as stack:
        stack.callback(machine.destroy)
        machine.start()
        _start_engine(machine)
        stack.callback(machine.run, "sh", "-c", _END)
        made = Engine(machine)
        _make_images(made)
        yield made


def _copy_checkout(to: Path) -> None:
    """Files that git knows or would add: not what it ignores, such as settings with passwords."""
    listed = run("git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    to.mkdir(parents=True)
    copy = 'tar -C "$1" --null --files-from=- -c | tar -C "$2" -x'
    subprocess.run(["sh", "-c", copy, "sh", str(CHECKOUT), str(to)], input=listed, text=True, check=True)


def _start_engine(machine: Machine) -> None:
    machine.run("mkdir", "-p", "/var/lib/docker")
    # In memory, because an overlay can't be laid over the machine's own.
    machine.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/docker")
    machine.run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    machine.run("sh", "-c", "setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &")
    wait_until(lambda: _answers(machine), 60, "an engine that answers")


def _answers(machine: Machine) -> bool:
    return "yes" in machine.run("sh", "-c", "docker version >/dev/null 2>&1 && echo yes || true")


def _make_images(engine: Engine) -> None:
    base = re.search(r"^ARG BASE=(\S+)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    engine.run("docker", "import", f"/{_ARCHIVE}", _BASE)
    engine.run("docker", "tag", _BASE, base[1])
    engine.run("docker", "compose", "-f", "tests/compose/images/compose.yaml", "build", "--quiet")
