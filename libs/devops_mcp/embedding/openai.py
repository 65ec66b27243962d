"""The embeddings call of OpenAI, which Azure, vLLM, Ollama and Text Embeddings Inference speak too.

https://platform.openai.com/docs/api-reference/embeddings/create. `base_url` ends where `/embeddings` begins: `https://api.openai.com/v1`,
`https://<resource>.openai.azure.com/openai/v1`, `http://localhost:11434/v1`. Azure takes the key in a header of its own.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose, Vector, patience_s, unit
from devops_mcp.embedding.batches import in_batches
from devops_mcp.embedding.http import EmbeddingService
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.models.errors import UpstreamInvalid


class OpenAiProvider:
    """`vendor_model` is what the service calls the model, with Azure the deployment. `shortens` asks for the model's dimensions."""

    def __init__(
        self,
        model: EmbeddingModel,
        service: EmbeddingService,
        *,
        vendor_model: str,
        shortens: bool,
        prefixes: tuple[str, str] = ("", ""),
    ) -> None:
        self.model = model
        self.policies = service.policies
        self._service = service
        self._fixed: dict[str, Any] = {"model": vendor_model, "encoding_format": "float"}
        if shortens:
            self._fixed["dimensions"] = model.dimensions
        self._prefixes = {Purpose.PASSAGE: prefixes[0], Purpose.QUESTION: prefixes[1]}

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        prefix = self._prefixes[purpose]
        within_s = patience_s(purpose, texts, self._service.timeout_s)
        batch = partial(self._batch, within_s=within_s)
        vectors, tokens = await in_batches([prefix + text for text in texts], self.model.max_batch, batch)
        return Embedded(vectors, self.model, tokens)

    async def _batch(self, texts: Sequence[str], *, within_s: float) -> tuple[list[Vector], int]:
        body = {**self._fixed, "input": list(texts)}
        answer = await self._service.post("embeddings", body, within_s=within_s)
        try:
            data = sorted(answer["data"], key=lambda entry: entry["index"])
            vectors = [entry["embedding"] for entry in data]
            counted = (answer.get("usage") or {}).get("prompt_tokens")
        except (KeyError, TypeError, AttributeError) as error:
            raise UpstreamInvalid(
                f"{self.model.name} answered in another shape ({type(error).__name__})"
            ) from None
        tokens = counted if isinstance(counted, int) else sum(map(count_tokens, texts))
        return unit(vectors, len(texts), self.model), tokens
