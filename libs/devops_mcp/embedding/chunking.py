"""Texts cut into passages that a model can take in at once."""

from collections.abc import Iterator

MAX_CHARS = 1_200
"""all-MiniLM-L6-v2 reads 256 word pieces, some 1,000 to 1,300 characters."""
OVERLAP = 120
MAX_PASSAGES = 200
_BREAKS = ("\n\n", "\n", ". ", " ")


def split(
    text: str, *, max_chars: int = MAX_CHARS, overlap: int = OVERLAP, max_passages: int = MAX_PASSAGES
) -> list[str]:
    """Cut at paragraphs, else lines, else sentences, else words; each passage repeats the end of the one before.

    Deterministic. Passages are not empty and at most `max_chars` long; a text beyond `max_passages` of them is indexed up to there.
    """
    return [
        passage for passage, _ in zip(_passages(text, max_chars, overlap), range(max_passages), strict=False)
    ]


def _passages(text: str, max_chars: int, overlap: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = _end(text, start, max_chars)
        if passage := text[start:end].strip():
            yield passage
        if end >= len(text):
            return
        start = max(end - overlap, start + 1)


def _end(text: str, start: int, max_chars: int) -> int:
    limit = start + max_chars
    if limit >= len(text):
        return len(text)
    for separator in _BREAKS:
        found = text.rfind(separator, start + max_chars // 2, limit)
        if found != -1:
            return found + len(separator)
    return limit
