"""datarun: trains and tests machine-learning submissions on cross-validation folds.

Importing this package imports nothing else: the contract, the client, the runner and the Django
project live in sub-modules that do not need one another. `datarun.Client` and `datarun.DatarunError`
are the client's, imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client, DatarunError

__version__ = "0.1.0"

__all__ = ["Client", "DatarunError", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Client", "DatarunError"):
        return getattr(import_module(".client", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
