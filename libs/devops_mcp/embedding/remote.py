"""Providers of models that a service computes, from their settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devops_mcp.config.settings import EmbeddingModelSettings, EmbeddingVendor
from devops_mcp.embedding.base import EmbeddingModel, EmbeddingProvider
from devops_mcp.embedding.google import BASE_URL as GOOGLE
from devops_mcp.embedding.google import GoogleProvider
from devops_mcp.embedding.http import EmbeddingService
from devops_mcp.embedding.openai import OpenAiProvider
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.outbound.addresses import Network
from devops_mcp.resilience.policies import Policies

OPENAI = "https://api.openai.com/v1"
_KEY_HEADERS = {EmbeddingVendor.AZURE: "api-key", EmbeddingVendor.GOOGLE: "x-goog-api-key"}


@asynccontextmanager
async def open_remote(
    settings: EmbeddingModelSettings,
    private_networks: tuple[Network, ...],
    region: str,
    policies: Policies | None = None,
) -> AsyncIterator[EmbeddingProvider]:
    """Nothing is sent before the first text. Raises `ConfigurationError` for settings that cannot work."""
    model, vendor_model = described(settings), settings.model or settings.name
    if settings.provider is EmbeddingVendor.BEDROCK:
        # The client of AWS is slow to import, and most models are elsewhere.
        from devops_mcp.embedding.bedrock import BedrockProvider, open_bedrock

        timeout_s = settings.timeout_s
        opened = open_bedrock(
            endpoint_url=settings.base_url, region=settings.region or region, timeout_s=timeout_s
        )
        async with opened as client:
            yield BedrockProvider(
                model, client, vendor_model=vendor_model, timeout_s=timeout_s, policies=policies
            )
        return
    service = EmbeddingService(
        settings.name,
        f"{_base_url(settings).rstrip('/')}/",
        _headers(settings),
        private_networks,
        timeout_s=settings.timeout_s,
        policies=policies,
    )
    async with _closing(service):
        if settings.provider is EmbeddingVendor.GOOGLE:
            yield GoogleProvider(model, service, vendor_model=vendor_model)
        else:
            yield OpenAiProvider(
                model,
                service,
                vendor_model=vendor_model,
                shortens=settings.shortens,
                prefixes=(settings.passage_prefix, settings.query_prefix),
            )


def described(settings: EmbeddingModelSettings) -> EmbeddingModel:
    """What others need to know of the model."""
    assert settings.dimensions is not None
    vendor_model = settings.model or settings.name
    return EmbeddingModel(
        name=settings.name,
        provider=settings.provider.value,
        space=settings.space or f"{vendor_model}/{settings.dimensions}",
        dimensions=settings.dimensions,
        price=settings.price_per_million_tokens,
        max_tokens=settings.max_tokens,
        max_batch=settings.max_batch,
        normalised=settings.provider is not EmbeddingVendor.GOOGLE,
    )


def _base_url(settings: EmbeddingModelSettings) -> str:
    usual = {EmbeddingVendor.OPENAI: OPENAI, EmbeddingVendor.GOOGLE: GOOGLE}.get(settings.provider)
    url = settings.base_url or usual
    if url is None:
        raise ConfigurationError(f"embedding_models: {settings.name} needs a base_url")
    return url


def _headers(settings: EmbeddingModelSettings) -> dict[str, str]:
    if settings.api_key is None:
        return {}
    key = settings.api_key.get_secret_value()
    header = _KEY_HEADERS.get(settings.provider)
    return {header: key} if header else {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def _closing(service: EmbeddingService) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await service.close()
