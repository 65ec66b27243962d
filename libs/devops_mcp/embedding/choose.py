"""Which models a process uses, and what its health says of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from devops_mcp.config.settings import EmbeddingModelSettings, EmbeddingVendor
from devops_mcp.embedding.base import EmbeddingProvider, EmbeddingState
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.embedding.local import GRAPH, default_folder, open_local
from devops_mcp.embedding.remote import open_remote
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.outbound.addresses import Network


@dataclass(frozen=True, slots=True)
class OpenedModels:
    """The models, none of them where search is by words only, and why."""

    models: EmbeddingModels
    state: EmbeddingState

    @property
    def provider(self) -> EmbeddingProvider | None:
        """The default."""
        return self.models.default


@dataclass(frozen=True, slots=True)
class Environs:
    """What a model's connection needs besides its own settings."""

    private_networks: tuple[Network, ...] = ()
    region: str = "us-east-1"


@asynccontextmanager
async def open_models(
    choice: str,
    model_dir: Path | None,
    configured: Sequence[EmbeddingModelSettings] = (),
    environs: Environs | None = None,
) -> AsyncIterator[OpenedModels]:
    """The models for the settings: `configured` in their order, and the local one where it can be had.

    `choice` is the setting `embedding_provider`: with `auto` the first of `configured` is the default, else the local model, else search is
    lexical; with `local` the local model is; with `lexical` there is none. `model_dir` None is the folder that `prepare` fills.

    Raises `ConfigurationError` when `local` is asked for and cannot be had.
    """
    if choice == "lexical":
        yield OpenedModels(EmbeddingModels(), EmbeddingState("lexical", "embedding_provider is lexical"))
        return
    plan = _plan(choice, model_dir or default_folder(), configured)
    async with AsyncExitStack() as stack:
        providers: list[EmbeddingProvider] = []
        for model in plan.models:
            if model.provider is EmbeddingVendor.LOCAL:
                providers.append(await stack.enter_async_context(open_local(plan.folder, name=model.name)))
            else:
                around = environs or Environs()
                providers.append(
                    await stack.enter_async_context(
                        open_remote(model, around.private_networks, around.region)
                    )
                )
        models = EmbeddingModels(providers)
        yield OpenedModels(models, _state(models, plan))


@dataclass(frozen=True, slots=True)
class _Plan:
    folder: Path
    models: list[EmbeddingModelSettings] = field(default_factory=list)
    missing: str | None = None
    """Why there is no local model."""


def _plan(choice: str, folder: Path, configured: Sequence[EmbeddingModelSettings]) -> _Plan:
    missing = _missing(folder)
    asked_for = choice == "local" or any(m.provider is EmbeddingVendor.LOCAL for m in configured)
    if missing and asked_for:
        raise ConfigurationError(f"a local embedding model is asked for, but {missing}")
    models = list(configured)
    if missing is None and not any(m.provider is EmbeddingVendor.LOCAL for m in configured):
        local = EmbeddingModelSettings(name="local", provider=EmbeddingVendor.LOCAL)
        models.append(local)
    if choice == "local":
        models.sort(key=lambda model: model.provider is not EmbeddingVendor.LOCAL)
    return _Plan(folder, models, missing)


def _state(models: EmbeddingModels, plan: _Plan) -> EmbeddingState:
    if models.default is None:
        return EmbeddingState("lexical", plan.missing or "")
    model = models.default.model
    return EmbeddingState("hybrid", "local model" if model.is_local else model.name, model.space)


def _missing(folder: Path) -> str | None:
    """Why the local model cannot be used; None when it can."""
    if not (folder / GRAPH).is_file():
        return "no local model is prepared; run 'python -m devops_mcp.embedding.prepare'"
    if find_spec("onnxruntime") is None or find_spec("tokenizers") is None:
        return "the extra devops-mcp[local-embeddings] is not installed"
    return None
