"""``import datarun`` and ``datarun.Client`` need little, and nothing that is slow to import before its use."""

import subprocess
import sys

import pytest

#: What a client may not need, and what it may import when it is used only.
FOREIGN = {"django", "celery", "kombu", "sklearn", "requests", "runapp", "datarun.runner", "datarun.settings"}
LATER = {"httpx", "rich", "click", "platformdirs", "numpy", "pandas"}


def imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("code", ["import datarun", "import datarun; datarun.Client('localhost:1', 'token')"])
def test_importing_and_making_a_client_imports_nothing_slow(code: str) -> None:
    assert not imported(code) & (FOREIGN | LATER)


def test_importing_the_package_alone_imports_no_client() -> None:
    assert "datarun.client" not in imported("import datarun")


def test_the_command_needs_click_only() -> None:
    assert not imported("import datarun.command") & (FOREIGN | LATER - {"click"})


def test_what_there_is_not_is_an_attribute_error() -> None:
    import datarun

    with pytest.raises(AttributeError, match="Klient"):
        _ = datarun.Klient
