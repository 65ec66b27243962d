import pytest

from devops_mcp.config import ServerSettings
from devops_mcp.serving.hosts import HostPolicy, is_address

POLICY = HostPolicy(
    ServerSettings(
        port=8080,
        allowed_hosts=("localhost", "127.0.0.1", "[::1]", "api.example.com", "*.tools.example.com"),
        allowed_origins=("https://app.example.com",),
    )
)


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:8080",
        b"127.0.0.1:1",
        b"[::1]:8080",
        b"api.example.com",
        b"a.tools.example.com",
        b"a.b.tools.example.com:443",
    ],
)
def test_our_names_are_served_on_any_port(host: bytes) -> None:
    assert POLICY.serves(host)


@pytest.mark.parametrize(
    "host",
    [
        b"", b"evil.example", b"api.example.com.", b"api.example.com.evil.example", b"xapi.example.com", b"tools.example.com",
        b"eviltools.example.com", b"127.0.0.2", b"[::2]", b"localhost@evil", b"localhost:8080:1", b"localhost/x", b"\xff",
    ],
)  # fmt: skip
def test_other_names_are_not(host: bytes) -> None:
    """H09"""
    assert not POLICY.serves(host)


@pytest.mark.parametrize(
    "origin",
    [
        b"https://app.example.com",
        b"HTTPS://APP.example.com",
        b"http://localhost:8080",
        b"https://localhost:8080",
    ],
)
def test_listed_and_own_pages_may_call(origin: bytes) -> None:
    assert POLICY.admits(origin, b"localhost:8080")


@pytest.mark.parametrize(
    "origin",
    [
        b"null", b"https://evil.example", b"https://app.example.com.evil.example", b"https://evilapp.example.com", b"http://app.example.com",
        b"https://app.example.com:444", b"http://localhost", b"http://localhost:8081", b"file://", b"http://localhost:8080/",
    ],
)  # fmt: skip
def test_other_pages_may_not(origin: bytes) -> None:
    """H09, S01"""
    assert not POLICY.admits(origin, b"localhost:8080")


def test_a_page_of_our_own_is_not_listed() -> None:
    assert not POLICY.listed(b"http://localhost:8080")


def test_deciding_on_a_million_names_keeps_no_million_decisions() -> None:
    policy = HostPolicy(ServerSettings(port=1))
    for number in range(2_000):
        policy.serves(f"h{number}.example".encode())

    assert len(policy._known) <= 256
    assert policy.serves(b"localhost")


def test_addresses_are_told_from_names() -> None:
    assert is_address(b"10.0.3.7:8080")
    assert is_address(b"[fd00::1]")
    assert not is_address(b"10.0.3.7.evil.example")
    assert not is_address(b"localhost")
