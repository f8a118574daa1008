"""Which folders are open to every submission, so that nothing may be kept there that is not for all."""

import sys
from pathlib import Path

import pytest

from datarun.runner.sandbox.lockdown import everybodys

OPEN = [
    "/usr/local/share/datarun",
    "/dev/shm/datarun",
    "/etc/datarun",
    "/lib/datarun",
    f"{sys.prefix}/datarun",
]


@pytest.mark.parametrize("folder", OPEN)
def test_folders_of_the_system_and_of_python_are_open(folder: str) -> None:
    found = everybodys(Path(folder))
    assert found is not None
    assert Path(folder).resolve().is_relative_to(found.resolve())


def test_others_are_not(tmp_path: Path) -> None:
    assert everybodys(tmp_path) is None
    assert everybodys(Path("/srv/datarun")) is None
    assert everybodys(Path("/usrlocal")) is None


def test_a_link_is_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/usr/share")
    assert everybodys(tmp_path / "link" / "datarun") is not None
