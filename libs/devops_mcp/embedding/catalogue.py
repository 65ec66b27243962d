"""The models of an installation: which there are, which is the default, and who stands in for whom."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from devops_mcp.embedding.base import EmbeddingModel, EmbeddingProvider
from devops_mcp.embedding.failover import Failover
from devops_mcp.models.errors import ConfigurationError, NotFound
from devops_mcp.resilience.policies import Policies, PolicySnapshot


@runtime_checkable
class _Guarded(Protocol):
    """A provider that is asked over the network."""

    @property
    def policies(self) -> Policies: ...


class EmbeddingModels:
    """The models by name, the first is the default. Raises `ConfigurationError` for models of one space that differ in dimensions."""

    def __init__(self, providers: Sequence[EmbeddingProvider] = ()) -> None:
        dimensions: dict[str, int] = {}
        for model in (provider.model for provider in providers):
            if dimensions.setdefault(model.space, model.dimensions) != model.dimensions:
                raise ConfigurationError(f"embedding_models: space {model.space!r} has two dimensions")
        self._providers: Mapping[str, EmbeddingProvider] = {
            provider.model.name: Failover([provider, *_beside(provider, providers)]) for provider in providers
        }

        self._policies = {
            f"embedding:{provider.model.name}": provider.policies
            for provider in providers
            if isinstance(provider, _Guarded)
        }

    def snapshot(self) -> Mapping[str, PolicySnapshot]:
        """How it stands with the breakers of the providers that are asked over the network."""
        return {key: policies.snapshot() for key, policies in self._policies.items()}

    @property
    def default(self) -> EmbeddingProvider | None:
        """What embeds for whoever has chosen no other; None: search is by words only."""
        return next(iter(self._providers.values()), None)

    def all(self) -> list[EmbeddingModel]:
        return [provider.model for provider in self._providers.values()]

    def named(self, name: str) -> EmbeddingProvider:
        """The model with its stand-ins. Raises `NotFound` that names those there are."""
        try:
            return self._providers[name]
        except KeyError:
            known = ", ".join(self._providers) or "none"
            raise NotFound(f"no embedding model is named {name!r}; there are: {known}") from None

    def chosen(self, name: str | None) -> EmbeddingProvider | None:
        """The model of that name, or the default where none is chosen, or it is gone."""
        return self._providers.get(name or "", self.default)

    def of_space(self, space: str) -> EmbeddingProvider | None:
        """The first model of the space; None: its vectors cannot be asked any more."""
        return next((p for p in self._providers.values() if p.model.space == space), None)


def _beside(provider: EmbeddingProvider, providers: Sequence[EmbeddingProvider]) -> list[EmbeddingProvider]:
    same = [other for other in providers if other.model.space == provider.model.space]
    return [other for other in same if other is not provider]
