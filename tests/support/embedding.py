"""Embedding without a model: vectors that a test can foresee."""

import hashlib
from collections.abc import Sequence

from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose, Vector
from devops_mcp.models.errors import PlatformError

LOCAL_SPACE = "all-MiniLM-L6-v2/int8/384"


def model(name: str = "fake", *, space: str = LOCAL_SPACE, dimensions: int = 384, **others) -> EmbeddingModel:
    """A model of `dimensions` in `space`."""
    return EmbeddingModel(name, "openai", space, dimensions, **others)


def vector_of(text: str, dimensions: int = 384) -> Vector:
    """A unit vector along an axis that the text's words decide: texts of the same words mean the same."""
    words = " ".join(sorted(text.lower().split()))
    axis = int.from_bytes(hashlib.sha256(words.encode()).digest()[:4]) % dimensions
    return [1.0 if i == axis else 0.0 for i in range(dimensions)]


class FakeProvider:
    """Embeds by `vector_of`, or every text alike; keeps the texts, and fails while `failing` is set."""

    def __init__(self, of: EmbeddingModel | None = None, *, alike: bool = False) -> None:
        self.model = of or model()
        self.alike = alike
        self.texts: list[str] = []
        self.failing: PlatformError | None = None

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        if self.failing is not None:
            raise self.failing
        self.texts += texts
        said = ["" if self.alike else text for text in texts]
        vectors = [vector_of(text, self.model.dimensions) for text in said]
        return Embedded(vectors, self.model, sum(len(text.split()) for text in texts))
