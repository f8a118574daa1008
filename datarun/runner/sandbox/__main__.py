"""Starts a zygote: ``python -m datarun.runner.sandbox SOCKET FOLDER MODULE...``. Locks this process down first.

Nothing foreign may be imported above the lock: it binds the one thread that there is, and numpy starts more.
"""

import socket
import sys
from importlib import import_module
from pathlib import Path

from . import layout
from .lockdown import lock_zygote


def main() -> None:
    layout.reserve()
    control, folder = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    lock_zygote(folder)
    from .zygote import Zygote

    for name in sys.argv[3:]:
        import_module(name)
    Zygote(control, folder).serve()


if __name__ == "__main__":
    main()
