import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.serving.limits import Limits
from devops_mcp.serving.request_head import Headers, fault_in_head

LIMITS = Limits()
HOST = (b"host", b"localhost:8080")


def status(
    *headers: tuple[bytes, bytes],
    method: bytes = b"POST",
    target: bytes = b"/x",
    version: str = "1.1",
    upgrade: bool = False,
) -> int:
    fault = fault_in_head(method, target, version, headers, LIMITS, upgrade=upgrade)
    return 200 if fault is None else fault.status


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:8080", b"127.0.0.1:1", b"[::1]", b"[::1]:8080", b"api.example.com.", b"a_b"],
)
def test_a_valid_host_passes(host: bytes) -> None:
    assert status((b"host", host)) == 200


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a/health?x=",
        b"a b",
        b"a@b",
        b"a,b",
        b"a:",
        b"a:123456",
        b"[::1",
        b"::1",
        b"\xe9",
        b"a\tb",
        b"http://a",
        b"a#",
        b"a\\b",
    ],
)
def test_an_invalid_host_is_refused(host: bytes) -> None:
    """H09, H10"""
    assert status((b"host", host)) == 400


def test_a_missing_or_second_host_is_refused() -> None:
    """H09"""
    assert status() == 400
    assert status(HOST, HOST) == 400


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://localhost:8080/x", 200),
        (b"HTTP://LOCALHOST:8080/x", 200),
        (b"http://other/x", 400),
        (b"http://user@localhost:8080/x", 400),
        (b"//other/x", 200),
        (b"*", 200),
    ],
)
def test_an_absolute_target_names_the_same_host(target: bytes, expected: int) -> None:
    assert status(HOST, target=target) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"9" * 19)],
        [(b"content-length", b"")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"identity")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_a_length_that_two_readers_could_read_differently_is_refused(
    headers: list[tuple[bytes, bytes]],
) -> None:
    """H04"""
    assert status(HOST, *headers) == 400


def test_chunked_belongs_to_http_1_1() -> None:
    assert status(HOST, (b"transfer-encoding", b"Chunked")) == 200
    assert status(HOST, (b"transfer-encoding", b"chunked"), version="1.0") == 400


@pytest.mark.parametrize("version", ["0.9", "2.0", "3.0"])
def test_other_versions_are_refused(version: str) -> None:
    assert status(HOST, version=version) == 400


def test_connect_is_refused() -> None:
    assert status(HOST, method=b"CONNECT", target=b"a:1") == 400


def test_the_target_is_bounded() -> None:
    assert status(HOST, target=b"/" + b"a" * (LIMITS.target_bytes - 1)) == 200
    assert status(HOST, target=b"/" + b"a" * LIMITS.target_bytes) == 414


def test_the_number_of_fields_is_bounded() -> None:
    fields = [(b"a", b"b")] * (LIMITS.headers - 1)
    assert status(HOST, *fields) == 200
    assert status(HOST, *fields, (b"a", b"b")) == 431


def test_the_size_of_all_fields_is_bounded() -> None:
    room = LIMITS.header_bytes - len(HOST[0]) - len(HOST[1]) - 1
    assert status(HOST, (b"a", b"b" * room)) == 200
    assert status(HOST, (b"a", b"b" * (room + 1))) == 431


def test_an_upgrade_with_a_body_is_refused() -> None:
    """The parser stops reading at the upgrade: the body would be lost, or taken for the next request."""
    assert status(HOST, (b"content-length", b"3"), upgrade=True) == 400
    assert status(HOST, (b"transfer-encoding", b"chunked"), upgrade=True) == 400
    assert status(HOST, (b"content-length", b"0"), upgrade=True) == 200


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"host", b"content-length", b"transfer-encoding", b"x"]), st.binary(max_size=30)
        ),
        max_size=8,
    ),
    st.binary(max_size=40),
)
def test_any_head_gets_a_verdict(headers: Headers, target: bytes) -> None:
    fault = fault_in_head(b"GET", target, "1.1", headers, LIMITS)

    assert fault is None or 400 <= fault.status < 500
