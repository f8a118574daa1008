"""Calls the kernel where training a model has no business."""

import ctypes
import os
import signal

from .right import Right
from .tries import Tries

PTRACE_TRACEME, PTRACE_ATTACH = 0, 16


class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        parent, buffer = os.getppid(), ctypes.create_string_buffer(4096)
        tries.call("ptrace", PTRACE_ATTACH, parent, 0, 0)
        tries.call("ptrace", PTRACE_TRACEME, 0, 0, 0)
        tries.call("process_vm_readv", parent, buffer, 1, buffer, 1, 0)
        tries.call("process_vm_writev", parent, buffer, 1, buffer, 1, 0)
        tries.call("kcmp", os.getpid(), parent, 0, 0, 0)
        tries.call("mount", b"none", b"/tmp", b"tmpfs", 0, 0)
        tries.call("umount2", b"/proc", 0)
        tries.call("pivot_root", b".", b".")
        tries.call("chroot", b".")
        tries.call("open_tree", -100, b"/", 1)
        tries.call("fsopen", b"tmpfs", 0)
        tries.call("move_mount", -100, b"/", -100, b"/tmp", 0)
        tries.call("name_to_handle_at", -100, b"/", buffer, buffer, 0)
        tries.call("setns", 0, 0)
        for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
            tries.call("unshare", flag)
            tries.call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)
        tries.call("clone3", buffer, 88)
        for name in ("keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup"):
            tries.call(name, 0, 0, 0, 0, 0)
        for name in ("shmget", "semget", "msgget", "mq_open", "memfd_create", "memfd_secret", "syslog", "quotactl"):
            tries.call(name, 0, 0, 0, 0, 0)
        for name in ("init_module", "finit_module", "kexec_load", "reboot", "swapon", "settimeofday", "sethostname", "acct"):
            tries.call(name, 0, 0, 0, 0, 0)
        tries.tell()
