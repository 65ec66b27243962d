"""Providers of one space, of which the next is asked when one cannot answer."""

from collections.abc import Sequence

import structlog

from devops_mcp.embedding.base import Embedded, EmbeddingModel, EmbeddingProvider, Purpose
from devops_mcp.models.errors import PlatformError, UpstreamInvalid, UpstreamUnauthorized

log = structlog.get_logger()


class Failover:
    """Asks the first, and the others in their order when it fails for a reason that another may not share.

    What one refuses as it stands, such as a text that is too long, is not tried with the next. `model` is the first one's; an answer names
    the one that gave it.
    """

    def __init__(self, providers: Sequence[EmbeddingProvider]) -> None:
        spaces = {provider.model.space for provider in providers}
        if len(spaces) != 1:
            raise ValueError(f"providers of different spaces stand in for each other: {sorted(spaces)}")
        self._providers = tuple(providers)

    @property
    def model(self) -> EmbeddingModel:
        return self._providers[0].model

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        *others, last = self._providers
        for provider in others:
            try:
                return await provider.embed(texts, purpose)
            except PlatformError as error:
                if not _another_may(error):
                    raise
                log.warning(
                    "embedding model failed over",
                    model=provider.model.name,
                    code=error.code,
                    reason=error.message,
                )
        return await last.embed(texts, purpose)


def _another_may(error: PlatformError) -> bool:
    return error.retryable or isinstance(error, UpstreamUnauthorized | UpstreamInvalid)
