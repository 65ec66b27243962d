"""The embedding model of an embedded start: prepared once per environment, and no reason to fail."""

import sys
from collections.abc import Callable

from devops_mcp.config import Settings
from devops_mcp.embedded.process import run_to_end
from devops_mcp.embedded.servers import inherited_environment
from devops_mcp.embedding.local import default_folder
from devops_mcp.embedding.prepare import is_prepared


async def prepare_model(settings: Settings, say: Callable[[str], None]) -> None:
    """Put the model where the services look for it, unless it is there or the operator chose otherwise.

    Where that fails it is said, and search is lexical.
    """
    chosen = settings.embedding_model_dir is not None or settings.embedding_provider == "lexical"
    if chosen or is_prepared(default_folder()):
        return
    say("preparing the embedding model, once …")
    command = (sys.executable, "-m", "devops_mcp.embedding.prepare")
    code, output = await run_to_end(*command, environment=inherited_environment())
    if code != 0:
        say(f"search finds words only, not meaning: {output.strip()}")
