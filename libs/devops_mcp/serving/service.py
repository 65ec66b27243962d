"""What the three services do alike: read settings, start logs and traces, serve until told to stop."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import TypeAlias

import structlog
from starlette.types import ASGIApp

from devops_mcp.config import LogFormat, ServerSettings, Settings, load_settings, unknown_variables
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.observability.logging import start_logging
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import start_tracing
from devops_mcp.serving.memory import give_back_large_blocks
from devops_mcp.serving.server import raise_file_limit, run, serve

OpenApp: TypeAlias = Callable[[Settings, Metrics, asyncio.Event], AbstractAsyncContextManager[ASGIApp]]
"""Opens an application with everything behind it; the event is set when the drain begins."""

CANNOT_START = 2
log = structlog.get_logger()


def run_service(name: str, listens: Callable[[Settings], ServerSettings], open_app: OpenApp) -> None:
    """Run a service until SIGTERM or SIGINT. Exits with 2, and a line that names the setting, when it cannot start."""
    give_back_large_blocks()
    raise_file_limit()
    try:
        settings = load_settings()
        start_logging(name, settings.log_level, console=settings.log_format is LogFormat.CONSOLE)
        for variable in unknown_variables(os.environ):
            log.warning("environment variable is no setting", variable=variable)
        end_tracing = start_tracing(name, version("devops-mcp"), settings.otlp_endpoint)
        try:
            run(lambda: _serve(settings, listens(settings), open_app))
        finally:
            end_tracing()
    except ConfigurationError as error:
        sys.stderr.write(f"{name} cannot start: {error.message}\n")
        sys.exit(CANNOT_START)


async def _serve(settings: Settings, listens: ServerSettings, open_app: OpenApp) -> None:
    metrics = Metrics()
    stop = asyncio.Event()
    async with open_app(settings, metrics, stop) as app:
        # What is there now stays to the end: no collection, which holds up everybody, need look at it again.
        gc.collect()
        gc.freeze()
        await serve(app, listens, stop=stop, count=metrics.connection_refused)
