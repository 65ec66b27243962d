import io
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from devops_mcp.observability.logging import MAX_TEXT, sanitize, start_logging
from devops_mcp.observability.tracing import continued, start_tracing


@pytest.fixture
def lines() -> Iterator[io.BytesIO]:
    out = io.BytesIO()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    start_logging("under-test", stream=out)
    yield out
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def entry(lines: io.BytesIO) -> dict[str, object]:
    written = lines.getvalue().splitlines()
    assert len(written) == 1
    parsed: dict[str, object] = orjson.loads(written[0])
    return parsed


def test_an_entry_is_one_json_line_with_level_time_and_service(lines: io.BytesIO) -> None:
    structlog.get_logger().info("tool called", tool="github_pr_read", duration_ms=41)

    written = entry(lines)

    assert written["event"] == "tool called"
    assert written["level"] == "info"
    assert written["service"] == "under-test"
    assert written["duration_ms"] == 41
    assert str(written["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "value",
    [
        "a\nb",
        "\x1b[31mred\x1b[0m",
        '{"level":"error"}',
        "%s %n {0} {x}",
        "\x00\x07\x7f\x9b",
        "\u2028\u202e",
        "\ud800",
    ],
)
def test_no_value_forges_a_line_or_drives_a_terminal(lines: io.BytesIO, value: str) -> None:
    """L01"""
    structlog.get_logger().warning("seen", value=value)

    assert lines.getvalue().count(b"\n") == 1
    written = str(entry(lines)["value"])
    assert written.isprintable()


def test_a_value_of_a_megabyte_is_cut_and_says_so(lines: io.BytesIO) -> None:
    """L01"""
    structlog.get_logger().info("seen", value="x" * 1_000_000, listed=["y" * 1_000_000] * 1_000)

    assert len(lines.getvalue()) < 200_000
    assert entry(lines)["value"] == "x" * MAX_TEXT + f"…[{1_000_000 - MAX_TEXT} characters cut]"


@given(
    st.dictionaries(
        st.text(max_size=20), st.recursive(st.text() | st.integers() | st.floats() | st.binary(), st.lists)
    )
)
def test_whatever_is_logged_becomes_one_line_of_json(values: dict[str, object]) -> None:
    """L01"""
    rendered = orjson.dumps(sanitize(None, "info", dict(values)))

    assert b"\n" not in rendered
    assert orjson.loads(rendered) is not None


@pytest.mark.parametrize(
    "key",
    ["token", "github_token", "Authorization", "client_secret", "password", "X-Api-Key", "api_key", "cookie"],
)
def test_a_secret_is_masked_by_its_key_at_any_depth(lines: io.BytesIO, key: str) -> None:
    structlog.get_logger().info(
        "seen", headers={key: "canary-value", "accept": "*/*"}, **{key: "canary-value"}
    )

    assert b"canary" not in lines.getvalue()
    assert entry(lines)["headers"] == {key: "***", "accept": "*/*"}


def test_numbers_under_a_suspicious_key_stay_readable(lines: io.BytesIO) -> None:
    structlog.get_logger().info("seen", tokens=812)

    assert entry(lines)["tokens"] == 812


def test_a_secret_value_stays_masked_under_a_harmless_key(lines: io.BytesIO) -> None:
    structlog.get_logger().info("seen", value=SecretStr("canary-value"), raw=b"canary-value")

    assert b"canary" not in lines.getvalue()


def test_an_exception_stays_on_the_line_with_its_traceback(lines: io.BytesIO) -> None:
    try:
        raise ValueError("first\x1b[31m\nsecond")
    except ValueError:
        structlog.get_logger().exception("failed")

    exception = str(entry(lines)["exception"])
    assert "ValueError: first\\x1b[31m\nsecond" in exception
    assert "\x1b" not in exception


def test_an_entry_names_the_trace_it_belongs_to(lines: io.BytesIO) -> None:
    carrier = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    with continued(carrier, "work"):
        structlog.get_logger().info("seen")

    written = entry(lines)
    assert written["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert written["span_id"] != "b7ad6b7169203331"


def test_the_standard_librarys_logs_take_the_same_way(lines: io.BytesIO) -> None:
    logging.getLogger("botocore.hooks").warning("retry %s", "a\nb")

    written = entry(lines)
    assert written["event"] == "retry a\\nb"
    assert written["logger"] == "botocore.hooks"
    assert written["service"] == "under-test"


def test_a_record_whose_arguments_do_not_fit_is_still_written(lines: io.BytesIO) -> None:
    record = logging.LogRecord("careless", logging.WARNING, "", 0, "%d of %s", ("x",), None)
    next(
        handler
        for handler in logging.getLogger().handlers
        if type(handler).__module__.startswith("devops_mcp")
    ).handle(record)

    assert entry(lines)["event"] == "%d of %s"


def test_a_level_between_the_named_ones_is_written_as_the_one_below(lines: io.BytesIO) -> None:
    logging.getLogger("careless").log(25, "notice")

    assert entry(lines)["level"] == "info"


@pytest.mark.parametrize("name", ["mcp.server.session", "uvicorn.error", "httpx", "botocore.auth"])
def test_libraries_that_log_ids_and_addresses_at_info_are_quiet(lines: io.BytesIO, name: str) -> None:
    logging.getLogger(name).info("session id 1234")

    assert lines.getvalue() == b""


def test_console_lines_are_readable_and_not_json() -> None:
    out = io.BytesIO()
    start_logging("under-test", console=True, stream=out)

    structlog.get_logger().info("tool called", tool="a\nb")
    structlog.reset_defaults()

    text = out.getvalue().decode()
    assert "tool called" in text
    assert text.count("\n") == 1


def test_tracing_being_off_still_gives_entries_an_id(lines: io.BytesIO) -> None:
    shutdown = start_tracing("under-test", "0")
    with continued({}, "work"):
        structlog.get_logger().info("seen")
    shutdown()

    assert len(str(entry(lines)["trace_id"])) == 32
