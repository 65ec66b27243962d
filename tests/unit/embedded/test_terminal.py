import json

from devops_mcp.embedded.terminal import TerminalLog


def shown(*chunks: bytes, level: str = "warning") -> list[str]:
    lines: list[str] = []
    log = TerminalLog("worker", lines.append, level=level)
    for chunk in chunks:
        log(chunk)
    return lines


def entry(level: str, **details: object) -> bytes:
    return (
        json.dumps({"event": "tool called", "level": level, "service": "worker", **details}).encode() + b"\n"
    )


def test_warnings_are_shown_readably_and_information_is_not():
    assert shown(entry("info"), entry("warning", tool="github_repo_get")) == [
        "worker     warning  tool called  tool=github_repo_get"
    ]


def test_a_line_that_comes_in_pieces_is_shown_once_whole():
    line = entry("error", attempt=3)

    assert shown(line[:7], line[7:20], line[20:]) == ["worker     error    tool called  attempt=3"]


def test_what_is_not_a_log_entry_is_shown():
    assert shown(b"Traceback (most recent call last):\n") == ["worker     Traceback (most recent call last):"]


def test_a_logged_value_cannot_drive_the_terminal_or_forge_a_line():
    """L01"""
    (line,) = shown(entry("error", title="a\x1b[2J\nworker     error    all is well"))

    assert line.isprintable()


def test_an_exception_is_shown_below_its_line():
    (line,) = shown(entry("error", exception="Traceback:\n  boom"))

    assert line.endswith("tool called\nTraceback:\n  boom")
