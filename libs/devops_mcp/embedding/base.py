"""What embeds texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Vector = list[float]


class EmbeddingProvider(Protocol):
    """Embeds texts into one space. Vectors of different spaces are never compared."""

    @property
    def space(self) -> str:
        """Model, precision and dimensions: `all-MiniLM-L6-v2/int8/384`."""
        ...

    @property
    def dimensions(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Unit vectors, one a text, in order. Raises `Unavailable`."""
        ...

    async def embed_query(self, text: str) -> Vector:
        """The vector of a question; goes ahead of texts that wait. Raises `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddingState:
    """What search can do on this machine, and why: for health."""

    mode: str
    """`hybrid` or `lexical`."""
    reason: str
    space: str | None = None

    async def describe(self) -> str:
        """A line for readiness; a probe of its own accord, since nothing need be asked."""
        return f"{self.mode}: {self.space or self.reason}"


@dataclass(frozen=True, slots=True)
class OpenedProvider:
    """The provider, None where search is by words only, and why."""

    provider: EmbeddingProvider | None
    state: EmbeddingState
