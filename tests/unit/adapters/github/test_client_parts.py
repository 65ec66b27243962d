"""The parts of GitHub's client that need no server: cursors, ETags, log lines, arguments."""

import itertools
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from devops_mcp.adapters.github.config import GitHubSettings
from devops_mcp.adapters.github.cursors import decode_cursor, encode_cursor, next_cursor
from devops_mcp.adapters.github.etags import EtagCache, cache_key
from devops_mcp.adapters.github.tools.issues import IssueListParams
from devops_mcp.adapters.github.tools.logs import LinePicker
from devops_mcp.adapters.github.tools.pull_changes import PullRequestMergeParams
from devops_mcp.adapters.upstream import Reply
from devops_mcp.models.errors import InvalidInput

# Cursors


def test_a_cursor_keeps_where_the_next_page_begins_and_no_address() -> None:
    link = (
        '<https://api.github.com/repositories/1/issues?state=all&page=2>; rel="prev", '
        '<https://api.github.com/repositories/1/issues?state=all&per_page=5&page=4&after=Y3Vyc29y%3D%3D>; rel="next"'
    )

    cursor = next_cursor(link)

    assert decode_cursor(cursor) == {"page": "4", "after": "Y3Vyc29y=="}
    assert next_cursor('<https://api.github.com/x?page=1>; rel="first"') is None
    assert next_cursor(None) is None
    assert decode_cursor(None) == {}


@given(
    st.dictionaries(
        st.sampled_from(["page", "after", "before", "offset"]),
        st.from_regex(r"[A-Za-z0-9=:+/_-]{1,50}", fullmatch=True),
        min_size=1,
    )
)
def test_a_cursor_is_read_back_as_it_was_written(paging: dict[str, str]) -> None:
    assert decode_cursor(encode_cursor(paging)) == paging


@pytest.mark.parametrize("cursor", ["", "!", "é", "cGFnZQ", encode_cursor({"per_page": "100"}), encode_cursor({"page": "2", "q": "x"}),
                                    encode_cursor({"page": "a b"}), encode_cursor({"page": "9" * 301})])  # fmt: skip
def test_a_cursor_that_we_did_not_make_is_refused(cursor: str) -> None:
    """I01: nothing but paging comes out of a cursor."""
    with pytest.raises(InvalidInput, match="not one of ours"):
        decode_cursor(cursor)


# ETags


def reply(size: int = 10, etag: str | None = '"x"') -> Reply:
    return Reply(200, {"etag": etag} if etag else {}, b"x" * size)


def test_the_answers_used_last_are_kept() -> None:
    cache = EtagCache(max_entries=2, max_bytes=100_000)
    cache.keep("a", reply())
    cache.keep("b", reply())
    cache.find("a")
    cache.keep("c", reply())

    assert [cache.find(key) is not None for key in "abc"] == [True, False, True]


def test_an_answer_without_etag_or_too_large_is_not_kept_and_drops_the_older() -> None:
    cache = EtagCache(max_entries=10, max_bytes=1_000)
    cache.keep("a", reply())
    cache.keep("a", reply(etag=None))
    cache.keep("b", reply(size=200))

    assert (len(cache), cache.size_bytes) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 200)), max_size=60))
def test_the_cache_never_grows_beyond_its_bounds(answers: list[tuple[str, int]]) -> None:
    cache = EtagCache(max_entries=4, max_bytes=1_000)
    for key, size in answers:
        cache.keep(key, reply(size))
        assert len(cache) <= 4
        assert 0 <= cache.size_bytes <= 1_000
    assert sum(cache.find(key) is not None for key in "abcdef") == len(cache)


def test_the_key_is_of_address_and_media_type() -> None:
    asked = [("/a", {"page": 1}), ("/a", {"page": 2}), ("/a", {}), ("/b", {}), ("/a", {"q": "x&page=1"})]
    keys = {cache_key(path, params, accept) for path, params in asked for accept in ("json", "diff")}

    assert len(keys) == 2 * len(asked)
    assert cache_key("/a", {"b": 1, "a": 2, "c": None}, "json") == cache_key("/a", {"a": 2, "b": 1}, "json")


# Logs


async def chunked(content: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(content):
            return
        yield content[at : at + size]
        at += size


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\n\r\ufeff\x1b", exclude_categories=["Cs"]), max_size=30),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
async def test_lines_are_the_same_however_they_arrive(lines: list[str], sizes: list[int]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    picker = LinePicker(tail=1_000)

    assert await picker.read(chunked(content, sizes), 1_000_000) is False

    assert list(picker.kept) == lines
    assert picker.total == len(lines)


async def test_a_line_without_end_is_kept_short() -> None:
    picker = LinePicker(tail=5)

    await picker.read(chunked(b"x" * 1_000_000, [4_096]), 2_000_000)

    assert [len(line) for line in picker.kept] == [1_000]


async def test_the_part_of_failed_steps_is_found_by_their_times() -> None:
    log = b"2026-11-01T10:00:01.9Z a\n2026-11-01T10:00:02.0Z b\nc\n2026-11-01T10:00:03.9Z d\n2026-11-01T10:00:04.0Z e\n"
    picker = LinePicker(tail=9, windows=(("2026-11-01T10:00:02", "2026-11-01T10:00:03"),))

    await picker.read(chunked(log, [10]), 10_000)

    assert list(picker.kept) == ["b", "c", "d"]


# Arguments


@pytest.mark.parametrize(
    "repo",
    [
        "shop",
        "acme/",
        "/shop",
        "acme/shop/x",
        "../shop",
        "acme/sh op",
        "acme/shop?x=1",
        "acme/shop#f",
        "a%2fb/c",
        "-x/y",
        "acme/shop\n",
    ],
)
def test_a_repository_is_an_owner_and_a_name(repo: str) -> None:
    """I11, I14."""
    assert IssueListParams(repo="Acme-1/shop.js_2").repo == "Acme-1/shop.js_2"
    with pytest.raises(ValidationError):
        IssueListParams(repo=repo)


@pytest.mark.parametrize("sha", ["", "main", "6dcb09b", "6DCB09B5B57875F334F61AEBED695E2E4193DB5E"])
def test_a_merge_demands_the_whole_sha(sha: str) -> None:
    with pytest.raises(ValidationError):
        PullRequestMergeParams(number=1, sha=sha)


@pytest.mark.parametrize(
    "base_url", ["ftp://x", "api.github.com", "https://a b", "https://x?y", "file:///etc/passwd"]
)
def test_an_address_must_be_http(base_url: str) -> None:
    with pytest.raises(ValidationError):
        GitHubSettings(base_url=base_url)
    assert "canary" not in repr(GitHubSettings.model_validate({"token": "canary"}))
