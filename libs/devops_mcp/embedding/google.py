"""Google's embeddings (Gemini API): https://ai.google.dev/api/embeddings, method `batchEmbedContents`, version v1beta.

It counts no tokens in its answer, so they are estimated. Vectors shorter than the model's own are not of length 1; ours are.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose, Vector, patience_s, unit
from devops_mcp.embedding.batches import in_batches
from devops_mcp.embedding.http import EmbeddingService
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.models.errors import UpstreamInvalid

BASE_URL = "https://generativelanguage.googleapis.com/v1beta"
MAX_BATCH = 100
_TASKS = {Purpose.PASSAGE: "RETRIEVAL_DOCUMENT", Purpose.QUESTION: "RETRIEVAL_QUERY"}


class GoogleProvider:
    def __init__(self, model: EmbeddingModel, service: EmbeddingService, *, vendor_model: str) -> None:
        self.model = model
        self.policies = service.policies
        self._service = service
        self._name = f"models/{vendor_model}"
        self._path = f"models/{quote(vendor_model, safe='')}:batchEmbedContents"

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        within_s = patience_s(purpose, texts, self._service.timeout_s)

        async def batch(some: Sequence[str]) -> tuple[list[Vector], int]:
            requests = [self._request(text, purpose) for text in some]
            answer = await self._service.post(self._path, {"requests": requests}, within_s=within_s)
            return unit(self._values(answer), len(some), self.model), sum(map(count_tokens, some))

        vectors, tokens = await in_batches(texts, min(self.model.max_batch, MAX_BATCH), batch)
        return Embedded(vectors, self.model, tokens)

    def _request(self, text: str, purpose: Purpose) -> dict[str, Any]:
        return {
            "model": self._name,
            "content": {"parts": [{"text": text}]},
            "taskType": _TASKS[purpose],
            "outputDimensionality": self.model.dimensions,
        }

    def _values(self, answer: Any) -> list[Vector]:
        try:
            return [entry["values"] for entry in answer["embeddings"]]
        except (KeyError, TypeError) as error:
            raise UpstreamInvalid(
                f"{self.model.name} answered in another shape ({type(error).__name__})"
            ) from None
