"""Passages by the thousand, with vectors that lie in clusters as those of texts do."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias
from uuid import UUID

import numpy as np
import psycopg

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from support.embedding import LOCAL_SPACE

SMALL_TENANT = UUID("00000000-0000-7000-8000-0000000000f0")
DIMENSIONS = 384
SPREAD = 0.7
"""How far a vector lies from the middle of its cluster, in parts of its length."""
Rows: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"
WORDS = ("build", "deployment", "alert", "checkout", "billing", "node", "pod", "release", "latency", "disk")
"""Each stands in one passage of 50; besides, passages hold words of their own."""


class Vectors:
    """Unit vectors in clusters, and questions that lie as they do; the same seed gives the same."""

    def __init__(self, count: int, *, questions: int = 100, clusters: int = 300, seed: int = 5) -> None:
        self._chance = np.random.default_rng(seed)
        self._middles = _unit(self._chance.standard_normal((clusters, DIMENSIONS)))
        self._count = count
        self.questions: list[list[float]] = self._some(questions).tolist()

    def __iter__(self) -> Iterator[Sequence[float]]:
        for start in range(0, self._count, 1_000):
            yield from self._some(min(1_000, self._count - start))

    def _some(self, count: int) -> Rows:
        middles = self._middles[self._chance.integers(0, len(self._middles), count)]
        return _unit(middles + SPREAD * _unit(self._chance.standard_normal((count, DIMENSIONS))))


def _unit(rows: Rows) -> Rows:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fill(superuser_url: str, count: int, vectors: Iterator[Sequence[float]]) -> None:
    """`count` passages of events: of the system `one` 1 %, of `ten` 10 %, of `rest` the others; the small tenant has one in 200.

    The vectors' numbers are written with four digits, which is what half precision holds.
    """
    columns = (
        "tenant_id, id, kind, source_id, part, title, text, uri, occurred_at, metadata, space, embedding"
    )
    with psycopg.connect(superuser_url) as connection:
        connection.execute(
            "INSERT INTO tenants (tenant_id, name) VALUES (%s, 'small') ON CONFLICT DO NOTHING",
            (SMALL_TENANT,),
        )
        with connection.cursor().copy(f"COPY passages ({columns}) FROM STDIN") as copy:
            for number in range(count):
                copy.write_row(_row(number, next(vectors)))
        connection.execute("ANALYZE passages")


def _row(number: int, vector: Sequence[float]) -> tuple[object, ...]:
    tenant = SMALL_TENANT if number % 200 == 77 else DEFAULT_TENANT_ID
    system = "one" if number % 100 == 3 else "ten" if number % 10 == 4 else "rest"
    known = WORDS[number // 50 % 10] if number % 5 == 0 else ""
    text = " ".join([known, *(f"word{number * prime % 20_011}" for prime in (7, 101, 1_009, 10_007) * 5)])
    written = "[" + ",".join(f"{value:.4f}" for value in vector) + "]"
    id_ = new_id()
    metadata = f'{{"system": "{system}"}}'
    when = "2026-11-01T00:00:00Z"
    return (
        tenant, id_, "event", id_, 0, f"event {number}", text, "devops://events/1", when, metadata, LOCAL_SPACE, written
    )  # fmt: skip
