"""Machines to deploy to, on this one: Debian trees with networks, mounts and processes of their own, and a real sshd.

Each lies over one tree that debootstrap made, so that nothing of this machine is written. In place of systemd, which
can't run there, stands docker-systemctl-replacement: a `systemctl` that starts and stops what units say.
Only root may do this, on Linux.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

BRIDGE, OUTSIDE, NETWORK = "datarun0", "10.88.0.1", "10.88.0.0/24"
_SUITE = "bookworm"
_PACKAGES = "ca-certificates,iproute2,openssh-server,procps,python3"
_CACHE = Path(os.environ.get("DEPLOY_CACHE", "/var/cache/datarun-deploy"))
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PATIENCE = 60.0  # seconds for a machine to listen
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

# Started in namespaces of its own; goes on when it has its network.
_BOOT = r"""
set -eu
root=$1; name=$2; address=$3; lower=$4
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$root/upper,workdir=$root/work" "$root/tree"
[ -z "$5" ] || mount --bind "$5" "$root/tree/root/.cache/pip"
cd "$root/tree"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/sshd run/lock mnt
read -r go
hostname "$name"
ip link set lo up
ip address add "$address/24" dev eth0
ip link set eth0 up
ip route add default via OUTSIDE
pivot_root . mnt
umount -l /mnt
exec /usr/sbin/sshd -D -e -o UsePAM=no -o PermitRootLogin=prohibit-password
""".replace("OUTSIDE", OUTSIDE)


class Machine:
    """One machine of this name and address. Whoever holds `key` gets in as root."""

    def __init__(self, folder: Path, base: Path, name: str, address: str, key: Path) -> None:
        self.name, self.address = name, address
        self._folder, self._base, self._key = folder / name, base, key
        self._process: subprocess.Popen[str] | None = None

    @property
    def tree(self) -> Path:
        """What the machine has written itself, as seen from here."""
        return self._folder / "upper"

    def start(self) -> None:
        """Returns when it answers by ssh."""
        for part in ("upper", "work", "tree"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        self._write_configuration()
        cache = Path("/root/.cache/pip")
        spaces = ("--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL")
        arguments = (
            str(self._folder),
            self.name,
            self.address,
            str(self._base),
            str(cache) if cache.is_dir() else "",
        )
        with (self._folder / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "sh", "-c", _BOOT, "boot", *arguments],
                stdin=subprocess.PIPE, stdout=console, stderr=console, text=True, start_new_session=True,
            )  # fmt: skip
        inside = self._child()
        link = f"dr-{self.name}"
        # A machine that was built anew has the card that others remember.
        card = f"02:00:00:00:00:{int(self.address.rsplit('.', 1)[1]):02x}"
        peer = ("peer", "name", "eth0", "address", card, "netns", str(inside))
        run("ip", "link", "add", link, "type", "veth", *peer)
        run("ip", "link", "set", link, "master", BRIDGE, "up")
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.close()
        self._await_sshd()

    def stop(self) -> None:
        """Pulls the plug; its disk stays."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            subprocess.run(["ip", "link", "delete", f"dr-{self.name}"], capture_output=True, check=False)

    def destroy(self) -> None:
        """Pulls the plug and wipes the disk."""
        self.stop()
        shutil.rmtree(self._folder)

    def run(self, *command: str) -> str:
        """What a command says there, run as root; not by way of what is tested."""
        spaces = ("--mount", "--net", "--pid", "--uts", "--ipc", "--wdns=/")
        return run("nsenter", "-t", str(self._child()), *spaces, "--", *command)

    def run_beside(self, *command: str) -> str:
        """What a command of this machine says, run in that one's network as if by a user who sits there."""
        return run("nsenter", "-t", str(self._child()), "--net", "--", *command)

    def known_host(self) -> str:
        """Its line for known_hosts."""
        return f"{self.address} {(self._base / 'etc/ssh/ssh_host_ed25519_key.pub').read_text().strip()}\n"

    def _child(self) -> int:
        assert self._process is not None
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if children := psutil.Process(self._process.pid).children():
                return children[0].pid
            time.sleep(0.02)  # nobody tells when a namespace has its first process
        raise AssertionError(f"{self.name} does not start: {self._console()}")

    def _await_sshd(self) -> None:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if "Server listening" in self._console():
                return
            assert self._process is not None
            assert self._process.poll() is None, self._console()
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not listen: {self._console()}")

    def _console(self) -> str:
        return (self._folder / "console.log").read_text(errors="replace")[-2000:]

    def _write_configuration(self) -> None:
        files = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n{self.address} {self.name}\n",
            "root/.ssh/authorized_keys": self._key.with_suffix(".pub").read_text(),
        }
        for name, content in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (self.tree / "root").chmod(0o700)
        (self.tree / "root/.ssh").chmod(0o700)


def base() -> Path:
    """The tree below all machines: Debian as it comes, made once and kept."""
    return debian_tree(f"{_SUITE}-1", _SUITE, _PACKAGES, _add_systemctl)


def debian_tree(name: str, suite: str, packages: str, equip: Callable[[Path], None] | None = None) -> Path:
    """A suite of Debian as it comes, with these packages and what `equip` adds, made once and kept as `name`."""
    tree = _CACHE / name
    if not tree.exists():
        new = tree.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        include = f"--include={packages}"
        run("debootstrap", "--variant=minbase", include, suite, str(new), "http://deb.debian.org/debian")
        _reach_registries(new)
        if equip is not None:
            equip(new)
        new.rename(tree)
    return tree


def _reach_registries(tree: Path) -> None:
    """Registries may be reached by an authority of our own; and packages start nothing by themselves."""
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    shutil.copy(_BUNDLE, tree / "etc/ssl/registries.crt")
    (tree / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/registries.crt\nretries = 5\n")
    (tree / "root/.cache/pip").mkdir(parents=True, exist_ok=True)
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")


def _add_systemctl(tree: Path) -> None:
    """What stands in for systemd, which does not run here."""
    wheel_folder = _CACHE / "wheel"
    run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheel_folder),
        "docker-systemctl-replacement==1.7.1097")  # fmt: skip
    (wheel,) = wheel_folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for command in ("systemctl", "journalctl"):
            path = tree / f"usr/bin/{command}3.py"  # under this name one calls the other
            path.write_bytes(archive.read(f"systemctl2/{path.name}"))
            path.chmod(0o755)
            (tree / "usr/bin" / command).symlink_to(path.name)


@contextmanager
def network() -> Iterator[None]:
    """A bridge that the machines' cables lead to, with a way out to the registries. All of it is gone in the end."""
    before = _FORWARD.read_text()
    with ExitStack() as undo:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        undo.callback(run, "ip", "link", "delete", BRIDGE)
        run("ip", "address", "add", f"{OUTSIDE}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        _FORWARD.write_text("1")
        undo.callback(_FORWARD.write_text, before)
        run("nft", f"add table ip {BRIDGE}")
        run("nft", f"add chain ip {BRIDGE} out {{ type nat hook postrouting priority srcnat; }}")
        run("nft", f"add rule ip {BRIDGE} out ip saddr {NETWORK} oifname != {BRIDGE} masquerade")
        undo.callback(run, "nft", "delete", "table", "ip", BRIDGE)
        yield


def run(*command: str) -> str:
    """What a command of this machine says; raises an error with its complaint if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
