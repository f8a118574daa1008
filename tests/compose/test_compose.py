"""From a checkout to a platform in containers, by the real Compose files and engine. In the order of the file."""

import os
import re
import secrets
import socket
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.acceptance.platform import CHECKOUT
from tests.compose.engine import ADDRESS, Engine, engine
from tests.deploy.machines import network
from tests.services import debian

if os.geteuid() != 0:
    pytest.skip("only root can make machines", allow_module_level=True)

UP = ("docker", "compose", "up", "--build", "--detach", "--wait")
DOWN = ("docker", "compose", "down")
PUBLIC = ("docker", "compose", "-f", "compose.yaml", "-f", "compose.prod.yaml")
#: With characters that mean something to shells and files of settings.
PASSWORD = 'p$a:s/s w%r"d #1'
RUNNER_PASSWORD = "Runner1"


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    debian.ensure("debootstrap", "git", "iproute2", "nftables", "openssh-client")
    with network(), engine(tmp_path_factory.mktemp("docker")) as started:
        yield started


def run_examples(docker: Engine, url: str, password: str, *settings: str) -> None:
    """Runs the examples as a user at the machine, with these settings in the environment."""
    script = str(CHECKOUT / "test_files/test_workflow.py")
    command = [sys.executable, script, url, "admin", password, "--timeout", "300"]
    said = docker.machine.run_beside("env", *settings, *command)
    assert said.count("Oh yeah 1!") == said.count("Oh yeah 2!") == 3


def ports_open() -> set[int]:
    """The ports on which the machine answers others."""

    def answers(port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex((ADDRESS, port)) == 0

    return {port for port in (22, 80, 443, 4369, 5432, 5672, 8000, 15672, 25672) if answers(port)}


def predictions(docker: Engine) -> str:
    """The number of predictions in the database, and a hash of them."""
    query = "SELECT count(*), md5(string_agg(p::text, ',' ORDER BY p::text)) FROM runapp_prediction p"
    psql = ("psql", "-U", "datarun", "-d", "datarun", "-Atc", query)
    return docker.run("docker", "compose", "exec", "-T", "db", *psql).strip()


# Development: compose.yaml


def test_one_command_brings_a_platform_up(docker: Engine) -> None:
    docker.run(*UP)
    assert set(docker.containers()) == {"db", "rabbitmq", "web", "scheduler", "runner"}
    assert ports_open() == {22}


def test_the_examples_run(docker: Engine) -> None:
    run_examples(docker, "http://127.0.0.1:8000/", "admin")


def test_submissions_are_kept_in_without_privileges(docker: Engine) -> None:
    runner = ("docker", "compose", "exec", "-T", "runner")
    said = docker.run(*runner, "datarun", "runner", "check")
    for protection in ("files", "network", "memory", "kill", "signals", "system calls"):
        assert re.search(rf"^{protection} +in force", said, re.MULTILINE), said
    status = docker.run(*runner, "cat", "/proc/1/status")
    assert set(re.findall(r"^Cap\w+:\t(\w+)", status, re.MULTILINE)) == {"0" * 16}
    container = docker.containers()["runner"].split()[0]
    assert docker.run("docker", "inspect", "-f", "{{.HostConfig.Privileged}}", container).strip() == "false"


def test_a_second_time_changes_nothing(docker: Engine) -> None:
    before = docker.containers()
    docker.run(*UP)
    assert docker.containers() == before


def test_data_survive_new_containers(docker: Engine) -> None:
    before = predictions(docker)
    assert int(before.split("|")[0])
    docker.run(*DOWN)
    assert docker.containers() == {}
    docker.run(*UP)
    assert predictions(docker) == before
    run_examples(docker, "http://127.0.0.1:8000/", "admin")


def test_all_can_be_removed(docker: Engine) -> None:
    docker.run(*DOWN, "--volumes")
    assert docker.containers() == {}
    assert "datarun_" not in docker.run("docker", "volume", "ls", "--quiet")


# A public platform: compose.prod.yaml as well


def test_a_public_platform_comes_up(docker: Engine) -> None:
    settings = (CHECKOUT / "compose.prod.env.example").read_text()
    for name, value in {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "POSTGRES_PASSWORD": PASSWORD,
        "DR_DATABASE_PASSWORD": PASSWORD,
        "RABBITMQ_DEFAULT_PASS": PASSWORD,
        "USER_PSWD": PASSWORD,
    }.items():
        assert f"\n{name}=''\n" in settings
        settings = settings.replace(f"\n{name}=''\n", f"\n{name}='{value}'\n")
    settings = settings.replace(":PASSWORD@", f":{quote(PASSWORD, safe='')}@")
    docker.write("compose.prod.env", settings.replace("datarun.example.org", ADDRESS))
    docker.run("mkdir", "tls")
    docker.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls/key.pem",
               "-out", "tls/cert.pem", "-subj", "/CN=datarun", "-addext", f"subjectAltName=IP:{ADDRESS}")  # fmt: skip
    docker.run(*PUBLIC, "up", "--build", "--detach", "--wait")
    assert set(docker.containers()) == {"db", "rabbitmq", "web", "scheduler", "nginx"}
    assert ports_open() == {22, 443}


def test_a_runner_joins_it_by_its_token(docker: Engine) -> None:
    """By the commands of runner.env.example."""
    example = (CHECKOUT / "runner.env.example").read_text()
    commands = "\n".join(re.findall(r"^#   (.+)", example, re.MULTILINE))
    said = docker.run("sh", "-ec", commands.replace("PASSWORD", RUNNER_PASSWORD))
    token = said.splitlines()[0]
    settings = example.replace("DR_RUNNER_TOKEN=''", f"DR_RUNNER_TOKEN='{token}'")
    docker.write("runner.env", settings.replace(":PASSWORD@", f":{RUNNER_PASSWORD}@"))
    docker.run(*PUBLIC, "--profile", "runner", "up", "--detach", "--wait")
    assert "runner" in docker.containers()


def test_the_examples_run_over_tls(docker: Engine) -> None:
    certificate = docker.checkout / "tls/cert.pem"
    run_examples(docker, f"https://{ADDRESS}/", PASSWORD, f"REQUESTS_CA_BUNDLE={certificate}")
