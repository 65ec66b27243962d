"""Pieces of manual pages as vectors of the local model: what texts' vectors are like, where random ones only resemble them.

They are computed once, which takes some minutes, and kept in the folder INDEX_CACHE.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from benchmarks.corpora import PACKAGES, pages
from devops_mcp.embedding.chunking import split
from devops_mcp.embedding.local import Model, default_folder

CACHE = Path(os.environ.get("INDEX_CACHE", Path.home() / ".cache/devops-mcp-benchmarks"))
SOURCES = (*PACKAGES, "manpages-dev", "libssl-doc", "perl-doc")
SECTIONS = tuple(f"man{number}" for number in range(1, 9))
PIECE_CHARS = 140
"""A sentence or two; the pages above have some 170,000 that differ."""
_TOGETHER = 2_000


class ManualVectors:
    """`count` pieces' vectors, in an order that does not follow the pages; the questions are the pages' lines after NAME."""

    def __init__(self, count: int, *, questions: int) -> None:
        file = CACHE / f"manual-{count}-{questions}.npy"
        if not file.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            pieces, asked = _texts()
            if len(pieces) < count:
                raise ValueError(f"the manual pages have {len(pieces):,} pieces, not {count:,}")
            np.save(file, _embedded([*asked[:questions], *pieces[:count]]))
        kept = np.load(file)
        self.questions: list[list[float]] = kept[:questions].tolist()
        self._pieces = kept[questions:]

    def __iter__(self) -> Iterator[Sequence[float]]:
        for piece in self._pieces:
            yield piece.tolist()


def _texts() -> tuple[list[str], list[str]]:
    """Every piece once, below its page's name, and every description once; both in the order of their digests."""
    pieces, asked = {}, set()
    with tempfile.TemporaryDirectory() as folder:
        for name, (description, text) in pages(Path(folder), SOURCES, SECTIONS):
            asked.add(description)
            for piece in split(text, max_chars=PIECE_CHARS, overlap=0):
                pieces.setdefault(piece, f"{name}\n{piece}")
    return sorted(pieces.values(), key=_digest), sorted(asked, key=_digest)


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _embedded(texts: Sequence[str]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    model, vectors = Model(default_folder()), []
    for start in range(0, len(texts), _TOGETHER):
        print(f"  {start:,} of {len(texts):,} pieces of manual pages embedded", flush=True)
        vectors += [
            np.array(vector, np.float32) for vector in model.vectors(texts[start : start + _TOGETHER])
        ]
    return np.stack(vectors)
