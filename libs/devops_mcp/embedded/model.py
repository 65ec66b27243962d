"""The embedding model of an embedded start: prepared once per state folder, and no reason to fail."""

import sys
from collections.abc import Callable
from pathlib import Path

from devops_mcp.config import Settings
from devops_mcp.embedded.process import run_to_end
from devops_mcp.embedded.servers import inherited_environment


async def prepare_model(state: Path, settings: Settings, say: Callable[[str], None]) -> Path | None:
    """The folder with the model for the services; the operator's where one is set; None, said, when search will be lexical."""
    if settings.embedding_model_dir is not None or settings.embedding_provider == "lexical":
        return settings.embedding_model_dir
    folder = state / "models" / "all-MiniLM-L6-v2"
    command = (sys.executable, "-m", "devops_mcp.embedding.prepare", "--to", str(folder))
    code, output = await run_to_end(*command, environment=inherited_environment())
    if code == 0:
        return folder
    say(f"search finds words only, not meaning: {output.strip()}")
    return None
