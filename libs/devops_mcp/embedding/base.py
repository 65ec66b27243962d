"""What embeds texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from devops_mcp.models.errors import UpstreamInvalid

Vector = list[float]


class Purpose(StrEnum):
    """What a text is embedded for: some models embed questions otherwise, and questions go ahead of passages that wait."""

    PASSAGE = "passage"
    QUESTION = "question"


QUESTION_WITHIN_S = 5.0
"""Somebody waits for the answer to a question, to which another model or the words alone can lead."""


def patience_s(purpose: Purpose, texts: Sequence[str], timeout_s: float) -> float:
    """How long to wait for a model that may take `timeout_s`: for a single question not that long."""
    return min(timeout_s, QUESTION_WITHIN_S) if purpose is Purpose.QUESTION and len(texts) == 1 else timeout_s


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model as it is configured. Vectors of different spaces are never compared; those of one space have the same dimensions.

    `price` is in US dollars for a million tokens, 0 for a model of one's own; `max_tokens` is the longest text, `max_batch` the most texts
    of one request; `normalised`: the provider gives unit vectors by itself (what we pass on are always unit vectors).
    """

    name: str
    provider: str
    space: str
    dimensions: int
    normalised: bool = True
    price: float = 0.0
    max_tokens: int = 8_191
    max_batch: int = 64

    @property
    def is_local(self) -> bool:
        """Computed in this process: nothing is paid, and nothing gained by keeping what was computed."""
        return self.provider == "local"

    def cost(self, tokens: int) -> float:
        """US dollars."""
        return tokens * self.price / 1_000_000


@dataclass(frozen=True, slots=True)
class Embedded:
    """Unit vectors, one a text, in order; the model that computed them, and the tokens it counted, or we estimate."""

    vectors: list[Vector]
    model: EmbeddingModel
    tokens: int = 0


class EmbeddingProvider(Protocol):
    """Embeds texts into the space of its model."""

    @property
    def model(self) -> EmbeddingModel: ...

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        """Any number of texts. Raises `Unavailable` or an `UpstreamError`; then nothing is known of any of them."""
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


def unit(vectors: Sequence[Sequence[float]], count: int, model: EmbeddingModel) -> list[Vector]:
    """The vectors at length 1. Raises `UpstreamInvalid` unless there are `count` of the model's dimensions, finite and not zero."""
    if len(vectors) != count:
        raise UpstreamInvalid(f"{model.name} gave {len(vectors)} vectors for {count} texts")
    return [_unit(vector, model) for vector in vectors]


def _unit(vector: Sequence[float], model: EmbeddingModel) -> Vector:
    if len(vector) != model.dimensions:
        raise UpstreamInvalid(
            f"{model.name} gave a vector of {len(vector)} dimensions; configured are {model.dimensions}"
        )
    length = math.sqrt(sum(value * value for value in vector))
    if not math.isfinite(length) or length == 0:
        raise UpstreamInvalid(f"{model.name} gave a vector without a direction")
    if abs(length - 1) < 1e-4:
        return list(vector)
    return [value / length for value in vector]
