"""The files of `templates/`, filled in."""

from pathlib import Path
from string import Template

_FOLDER = Path(__file__).with_name("templates")


def render(name: str, **values: str) -> str:
    """The template with $name replaced; a name without a value is an error of ours."""
    return Template((_FOLDER / name).read_text()).substitute(values)


def unit(name: str, writable: str, **values: str) -> str:
    """A service's unit, hardened: it writes to the folders `writable` only."""
    hardening = render("hardening", writable=writable).strip()
    return render(name, hardening=hardening, **values)


def environment(values: dict[str, str]) -> str:
    """An environment file, for systemd and for a shell."""
    escaped = str.maketrans({character: f"\\{character}" for character in '\\"$`'})
    return "".join(f'{name}="{value.translate(escaped)}"\n' for name, value in sorted(values.items()))
