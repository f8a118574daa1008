"""Where ``bin/up`` listens, and where it is reached."""

import socket

import pytest

from datarun.embedded.platform import Address, PlatformError


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("localhost", "http://localhost:8000/"),
        ("0.0.0.0", "http://127.0.0.1:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("::", "http://[::1]:8000/"),
        ("fd00::2", "http://[fd00::2]:8000/"),
        ("datarun.example.org", "http://datarun.example.org:8000/"),
    ],
)
def test_it_says_where_it_is_reached(host: str, url: str) -> None:
    assert Address(host, 8000).url == url


@pytest.mark.parametrize(
    ("host", "open"), [("127.0.0.1", False), ("::1", False), ("::", True), ("0.0.0.0", True)]
)
def test_only_who_listens_to_all_answers_to_any_name(host: str, open: bool) -> None:
    assert (Address(host, 8000).allowed_hosts == "*") == open


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_noticed(host: str) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PlatformError, match=rf"Port {port} can't be used \(Address already in use\)"):
            Address(host, port).check_free()
    Address(host, port).check_free()


def test_a_host_that_is_not_there_is_named() -> None:
    with pytest.raises(PlatformError, match="can't be used"):
        Address("no-such-host.invalid", 8000).check_free()
