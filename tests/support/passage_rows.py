"""Passages by the thousand, with vectors that lie in clusters as those of texts do."""

import math
import random
from collections.abc import Iterator, Sequence
from uuid import UUID

import psycopg

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from support.embedding import LOCAL_SPACE

SMALL_TENANT = UUID("00000000-0000-7000-8000-0000000000f0")
CLUSTERED = 0.35
"""How far a vector lies from the middle of its cluster, in parts of its length."""
WORDS = ("build", "deployment", "alert", "checkout", "billing", "node", "pod", "release", "latency", "disk")
"""Each stands in one passage of 50; besides, passages hold words of their own."""


def unit(values: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


class Clusters:
    """Random clusters; the same seed gives the same."""

    def __init__(self, count: int, dimensions: int = 384, seed: int = 5) -> None:
        self._chance = random.Random(seed)
        self._dimensions = dimensions
        self._middles = [self._direction() for _ in range(count)]

    def vector(self) -> list[float]:
        """A unit vector near the middle of one of the clusters."""
        middle = self._chance.choice(self._middles)
        off = self._direction()
        return unit([m + CLUSTERED * 2 * o for m, o in zip(middle, off, strict=True)])

    def _direction(self) -> list[float]:
        return unit([self._chance.gauss(0, 1) for _ in range(self._dimensions)])


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
