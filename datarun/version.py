"""Which datarun this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("datarun")
except PackageNotFoundError:  # a checkout that nobody has installed
    VERSION = "unknown"
