"""Which provider a process uses, and what its health says of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from devops_mcp.embedding.base import EmbeddingState, OpenedProvider
from devops_mcp.embedding.local import GRAPH, SPACE, default_folder, open_local
from devops_mcp.models.errors import ConfigurationError

__all__ = ["OpenedProvider", "open_provider"]


@asynccontextmanager
async def open_provider(choice: str, model_dir: Path | None) -> AsyncIterator[OpenedProvider]:
    """The provider for the setting `embedding_provider`: `auto` takes the local model if it is there, else search is lexical.

    `model_dir` None is the folder that `prepare` fills when it is told no other.

    Raises `ConfigurationError` when `local` is asked for and cannot be had.
    """
    folder = model_dir or default_folder()
    missing = "embedding_provider is lexical" if choice == "lexical" else _missing(folder)
    if missing is None:
        async with open_local(folder) as provider:
            yield OpenedProvider(provider, EmbeddingState("hybrid", "local model", SPACE))
        return
    if choice == "local":
        raise ConfigurationError(f"embedding_provider is local, but {missing}")
    yield OpenedProvider(None, EmbeddingState("lexical", missing or ""))


def _missing(folder: Path) -> str | None:
    """Why the local model cannot be used; None when it can."""
    if not (folder / GRAPH).is_file():
        return "no local model is prepared; run 'python -m devops_mcp.embedding.prepare'"
    if find_spec("onnxruntime") is None or find_spec("tokenizers") is None:
        return "the extra devops-mcp[local-embeddings] is not installed"
    return None
