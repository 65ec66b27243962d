"""Which files are text, and what it says."""

import codecs
from email.message import Message

from devops_mcp.models.blobs import Attachment

MAX_FILE_TEXT = 500_000
"""Characters of a file that it is found by, the first of a longer one: some 460 passages."""
_TEXT = frozenset(
    f"application/{name}"
    for name in (
        "json", "x-ndjson", "jsonl", "yaml", "x-yaml", "xml", "toml", "sql", "graphql", "javascript", "x-javascript", "x-sh", "x-httpd-php",
    )
)  # fmt: skip
_TEXT_SUFFIXES = ("+json", "+yaml", "+xml")
_CHARSETS = ("utf-8", "utf-16", "utf-32", "ascii", "iso8859", "cp125")
"""What their names begin with. Others of Python's are no charsets, or take quadratic time."""


def is_text(attachment: Attachment) -> bool:
    """Whether the file's media type says that it is text."""
    kind = attachment.media_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in _TEXT or kind.endswith(_TEXT_SUFFIXES)


def text_of(attachment: Attachment, body: bytes) -> str:
    """What the file says, as far as it is searched; nothing where it is no text, whatever its media type says."""
    text = body[: 4 * MAX_FILE_TEXT].decode(_charset(attachment), errors="replace")[:MAX_FILE_TEXT]
    return "" if "\0" in text else text.removeprefix("\ufeff")


def _charset(attachment: Attachment) -> str:
    """The file's, where it is one that is read; else UTF-8."""
    parsed = Message()
    parsed["Content-Type"] = attachment.media_type.replace("\r", " ").replace("\n", " ")
    try:
        known = codecs.lookup(parsed.get_content_charset("utf-8")).name
    except LookupError:
        return "utf-8"
    return known if known.startswith(_CHARSETS) else "utf-8"
