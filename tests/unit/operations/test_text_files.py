"""Which files are searched, and what they say."""

import pytest

from devops_mcp.models.blobs import Attachment
from devops_mcp.operations.text_files import MAX_FILE_TEXT, is_text, text_of


def a_file(media_type: str) -> Attachment:
    return Attachment(name="a", media_type=media_type, size=1, sha256="")


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "TEXT/Markdown; charset=utf-8", "application/json", "application/yaml", "application/ld+json", "image/svg+xml"],
)  # fmt: skip
def test_text_is_known_by_its_media_type(media_type):
    assert is_text(a_file(media_type))


@pytest.mark.parametrize(
    "media_type", ["application/octet-stream", "image/png", "application/zip", "", "text", "a/text/b", "json"]
)
def test_nothing_else_is_text(media_type):
    assert not is_text(a_file(media_type))


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("text/plain", "größer".encode()),
        ("text/plain", b"\xef\xbb\xbf" + "größer".encode()),
        ("text/plain; charset=iso-8859-1", "größer".encode("latin-1")),
        ('text/plain; charset="UTF-16"', "größer".encode("utf-16")),
        ("text/plain; charset=windows-1252", "größer".encode("cp1252")),
        ("text/plain; charset=latin_nothing", "größer".encode()),
    ],
)
def test_a_file_says_the_same_in_every_charset(media_type, body):
    assert text_of(a_file(media_type), body) == "größer"


@pytest.mark.parametrize("charset", ["idna", "punycode", "zlib", "rot13", "undefined", "utf-7"])
def test_a_charset_that_is_none_or_takes_for_ever_is_not_used(charset):
    assert text_of(a_file(f"text/plain; charset={charset}"), b"x" * 100) == "x" * 100


def test_bytes_that_are_no_text_say_nothing_whatever_they_are_called():
    assert text_of(a_file("text/plain"), b"\x7fELF\x00\x01") == ""


def test_of_a_long_file_the_beginning_is_said():
    assert text_of(a_file("text/plain"), b"\xff" * (6 * MAX_FILE_TEXT)) == "\ufffd" * MAX_FILE_TEXT
