"""From nothing to a master and three runners, and through what an operator does in a year. In the order of the file.

The machines are namespaces of this one, with a real sshd each and Debian as debootstrap makes it.
"""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from script_install.release import CHECKOUT, RUNNER_PACKAGES
from tests.deploy import machines
from tests.deploy.site import DATABASE_PASSWORD, PASSWORD, USER, Site
from tests.services import debian

if os.geteuid() != 0:
    pytest.skip("only root can make machines", allow_module_level=True)


_ANOTHER_KEY = "10.88.0.12 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    debian.ensure("debootstrap", "iproute2", "nftables", "openssh-client")
    packages = RUNNER_PACKAGES.read_bytes()
    with ExitStack() as stack:
        stack.callback(RUNNER_PACKAGES.write_bytes, packages)
        stack.enter_context(machines.network())
        made = Site(tmp_path_factory.mktemp("site"))
        for machine in made.machines:
            machine.start()
            stack.callback(machine.stop)
        yield made


def unchanged(said: str) -> bool:
    """Whether the summary says of every machine that nothing was changed."""
    rows = [line for line in said.splitlines() if re.match(r"10\.88\.0\.\d+  +\d+ s", line)]
    return bool(rows) and all(row.endswith("nothing to change") for row in rows)


# Bad input, on machines that nothing was done to yet


def test_machines_that_do_not_answer_as_they_should_are_reported_each(site: Site) -> None:
    one, two, three = site.runners
    known = site.known_hosts.read_text()
    site.known_hosts.write_text(known.replace(one.known_host(), "").replace(two.known_host(), _ANOTHER_KEY))
    three.run("sed", "-i", 's/^VERSION_ID=.*/VERSION_ID="10"/', "/etc/os-release")
    with site.list.open("a") as listed:
        listed.write("\n10.88.0.99 1 H\n")
    try:
        said = site.fab("runners", "--plan", code=1)
    finally:
        site.known_hosts.write_text(known)
        three.run("sed", "-i", 's/^VERSION_ID=.*/VERSION_ID="12"/', "/etc/os-release")
        site.write_list(site.runners)
    assert re.search(rf"{one.address} .*FAILED: its host key is unknown: ssh to {one.address} once", said)
    assert re.search(rf"{two.address} .*FAILED: its host key is not the one in known_hosts", said)
    assert re.search(rf"{three.address} .*FAILED: .* is not supported: Debian 12", said)
    assert re.search(r"10\.88\.0\.99 .*FAILED: it can't be reached by ssh", said)


def test_a_key_that_is_refused_is_reported(site: Site) -> None:
    other = site.folder / "other"
    machines.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    site.write_ssh(other)
    try:
        said = site.fab("master", "--plan", file=False, code=1)
    finally:
        site.write_ssh(site.folder / "key")
    assert "it refuses your key" in said


def test_a_full_disk_is_reported(site: Site) -> None:
    site.master.run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/opt")
    try:
        assert "its disk is full" in site.fab("master", "--plan", file=False, code=1)
    finally:
        site.master.run("umount", "/opt")


def test_a_broken_file_names_the_variable_or_the_line(site: Site) -> None:
    site.write_env(DIR_DATA="data")
    assert "DIR_DATA is no absolute path" in site.fab("master", file=False, code=2)
    site.write_env()
    site.list.write_text("10.88.0.11 2 X\n")
    assert "list_runners.txt, line 1: 'X' is no queue" in site.fab("runners", code=2)
    site.write_list(site.runners)


# The year of an operator


def test_a_plan_changes_nothing(site: Site) -> None:
    said = site.fab("master", "--plan", file=False)
    assert "would install" in said
    assert "changes planned" in said
    assert not (site.master.tree / "etc/datarun").exists()


def test_master_and_runners_are_provisioned(site: Site) -> None:
    site.cut_short("master", at="install release")
    site.fab("master", file=False)
    said = site.fab("runners")
    assert said.count("make a token for") == 3
    said = site.fab("status")
    assert [len(re.findall(rf"{machine.address} +up +live", said)) for machine in site.runners] == [1, 1, 1]


def test_a_second_run_changes_nothing(site: Site) -> None:
    assert unchanged(site.fab("master", file=False))
    assert unchanged(site.fab("runners"))


def test_only_the_promised_ports_answer(site: Site) -> None:
    def answers(address: str, port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex((address, port)) == 0

    ports = (22, 25, 80, 443, 4369, 5432, 5671, 5672, 8000, 15672, 25672)
    assert {port for port in ports if answers(site.master.address, port)} == {22, 443, 5671}
    assert {port for port in ports if answers(site.runners[0].address, port)} == {22}


def test_secrets_are_in_files_of_their_service_only(site: Site) -> None:
    for machine in site.machines:
        listed = machine.run("find", "/etc/datarun/secrets", "-type", "f", "-printf", "%u %m\n").split("\n")
        assert {line for line in listed if line} == {"datarun 400"}
        machine.run("runuser", "-u", "nobody", "--", "sh", "-c", "! ls /etc/datarun/secrets 2>/dev/null")
        files = machine.run("find", "/etc/datarun/secrets", "-type", "f").split()
        secrets = [machine.run("cat", path) for path in files] + [PASSWORD]
        shown = machine.run("ps", "-eww", "-o", "args=")
        for secret in secrets:
            assert secret not in shown
        for path in (
            path for folder in ("etc/systemd", "var/log") for path in (machine.tree / folder).rglob("*")
        ):
            if path.is_file():
                content = path.read_text(errors="replace")
                assert not [1 for secret in secrets if secret in content], path
    for runner in site.runners:
        found = runner.run(
            "sh", "-c", 'grep -rlF -- "$1" /etc /var /opt/datarun || true', "sh", DATABASE_PASSWORD
        )
        assert found == ""


def test_the_examples_run(site: Site) -> None:
    site.trust_master()
    command = ["bash", str(CHECKOUT / "test_files/remote_test.sh"), site.master.address, USER, PASSWORD]
    command += ["--timeout", "600"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Oh yeah 1!") == done.stdout.count("Oh yeah 2!") == 3


def test_a_package_is_installed_on_all_runners(site: Site) -> None:
    said = site.fab("runners-install", "--packages", "cachetools==5.5.0")
    assert said.count("restart datarun-runner.service") == 3
    for runner in site.runners:
        runner.run("/opt/datarun/current/venv/bin/python", "-c", "import cachetools")
    assert "differs" in site.fab("status")


def test_a_rolling_upgrade_loses_no_fold(site: Site) -> None:
    """To another contract version, the hardest case: what speaks the old one gets no work meanwhile."""
    checkout = site.next_version()
    said, ids = site.submit_during(lambda: site.fab("upgrade", checkout=checkout), 1001)
    assert said.count("switch to release") == 4
    site.await_tested(ids)


def test_a_rollback_brings_the_release_before(site: Site) -> None:
    site.fab("rollback")
    ids = site.submit(2001, 2)
    site.await_tested(ids)
    assert unchanged(site.fab("master", file=False))


def test_a_runner_is_removed_while_it_works(site: Site) -> None:
    ids = site.submit(3001, 18)
    site.await_running(ids)
    three = site.runners[2]
    site.write_list(site.runners[:2])
    site.fab("runners")
    site.await_tested(ids)
    assert not (three.tree / "opt/datarun").exists()
    said = site.master.run("datarun-manage", "status")
    assert f"celery@{three.address}" not in said
    assert said.count('"state": "live"') == 2


def test_a_backup_brings_everything_back(site: Site) -> None:
    site.post_large()
    before, folder = site.rows(), site.folder / "backup"
    site.fab("backup", "--to", str(folder), file=False)
    assert list((folder / "blobs").rglob("*/*"))
    site.master.destroy()
    site.master.start()
    site.fab("master", file=False)
    assert "say so with --yes" in site.fab("restore", "--source", str(folder), file=False, code=2)
    site.fab("restore", "--source", str(folder), "--yes", file=False)
    assert site.rows() == before
    site.fab("runners")
    site.trust_master()
    site.await_tested(site.submit(4001, 2))


def test_a_damaged_backup_is_refused(site: Site) -> None:
    folder = site.folder / "backup"
    blob = next(path for path in (folder / "blobs").rglob("*") if path.is_file())
    blob.write_bytes(b"damaged")
    said = site.fab("restore", "--source", str(folder), "--yes", file=False, code=1)
    assert f"blob {blob.name} is damaged" in said
    site.await_tested([4001, 4002])  # nothing was touched
