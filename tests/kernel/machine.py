"""A virtual machine with Debian's kernel, in QEMU without hardware support. It sees this machine's files, changes none.

Its root is an overlay: below this machine's root, shared over 9p (Documentation/filesystems/9p.rst of Linux), above
memory. It runs one script as root, prints what that prints, and is gone.
"""

import gzip
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.services import debian

PACKAGES = ("qemu-system-x86", "busybox-static", "cpio", "kmod")
_KERNEL = "linux-image-amd64"
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_rng")
_MEMORY = 4096  # MiB
_BEGIN, _END = "--- begin ---", "--- end ---"

_INIT = f"""\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
mount -t tmpfs -o size=2g above /above
mkdir /above/upper /above/work
mount -t overlay -o lowerdir=/host,upperdir=/above/upper,workdir=/above/work root /root
for folder in proc sys dev; do mount --move /$folder /root/$folder; done
mkdir /root/dev/shm
mount -t tmpfs shm /root/dev/shm
mount -t tmpfs run /root/run
mount -t cgroup2 cgroup /root/sys/fs/cgroup
mount -t securityfs security /root/sys/kernel/security
ip link set lo up
cp /script /root/run/script
echo '{_BEGIN}'
chroot /root /bin/sh /run/script
echo '{_END}'
echo o > /root/proc/sysrq-trigger
sleep 60
"""


class Machine:
    """Made in `folder`, which must be empty."""

    def __init__(self, folder: Path) -> None:
        debian.ensure(*PACKAGES)
        self._folder = folder
        self._version = self._fetch_kernel()

    def _fetch_kernel(self) -> str:
        """Unpacks Debian's kernel, rather than install it, for this machine to boot. Returns its version."""
        depends = _run("apt-cache", "depends", _KERNEL, cwd=self._folder)
        package = re.search(r"Depends: (linux-image-\S+)", depends)
        assert package is not None, depends
        _run("apt-get", "download", package[1], cwd=self._folder)
        (archive,) = self._folder.glob("*.deb")
        _run("dpkg-deb", "--extract", archive.name, ".", cwd=self._folder)
        version = package[1].removeprefix("linux-image-")
        _run("depmod", "-b", ".", version, cwd=self._folder)
        return version

    def run(self, script: str, timeout: float) -> str:
        """What the shell script prints, run as root. Raises `subprocess.TimeoutExpired` after so many seconds."""
        command = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
            *("-m", str(_MEMORY), "-nographic", "-no-reboot", "-device", "virtio-rng-pci"),
            *("-kernel", f"boot/vmlinuz-{self._version}", "-initrd", self._initial_files(script)),
            *("-append", "console=ttyS0 quiet panic=1 mitigations=off cgroup_no_v1=all"),
            *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
            *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        ]
        done = subprocess.run(
            command, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=timeout,
        )  # fmt: skip
        printed = re.search(f"{_BEGIN}\r?\n(.*)^{_END}", done.stdout, re.M | re.S)
        assert printed, f"{done.stdout[-5000:]}\n{done.stderr}"
        return printed[1].replace("\r\n", "\n")

    def _initial_files(self, script: str) -> str:
        """An archive of what is there at first (initramfs): just enough to get at this machine's files."""
        files = self._folder / "files"
        shutil.rmtree(files, ignore_errors=True)
        for name in ("bin", "modules", "host", "above", "root", "proc", "sys", "dev"):
            (files / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", files / "bin")
        for number, module in enumerate(self._modules()):
            shutil.copy(module, files / "modules" / f"{number:02}-{module.name}")
        (files / "init").write_text(_INIT)
        (files / "init").chmod(0o755)
        (files / "script").write_text(script)
        names = "\n".join(os.fspath(path.relative_to(files)) for path in files.rglob("*"))
        archive = subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc"], cwd=files, input=names.encode(), capture_output=True, check=True
        ).stdout  # fmt: skip
        (self._folder / "initrd").write_bytes(gzip.compress(archive, 1))
        return "initrd"

    def _modules(self) -> list[Path]:
        """The files of `_MODULES` and of what they need, each after what it needs."""
        found: dict[Path, None] = {}
        for name in _MODULES:
            lines = _run("modprobe", "-d", ".", "-S", self._version, "--show-depends", name, cwd=self._folder)
            for line in lines.splitlines():
                kind, *file = line.split()
                if kind == "insmod":
                    found[self._folder / file[0]] = None
        return list(found)


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
    return done.stdout
