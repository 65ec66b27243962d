"""`python -m devops_mcp.embedded.sqs --host 127.0.0.1 --port 9324 --data DIR`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from uuid import uuid4

import uvicorn

from devops_mcp.embedded.sqs.app import Server
from devops_mcp.embedded.sqs.journal import Durability, Journal
from devops_mcp.models.errors import PlatformError
from devops_mcp.observability.logging import start_logging

_KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection, so that it is theirs to close and no request meets a closed one."""
_STOP_WITHIN_S = 5


class _Uvicorn(uvicorn.Server):
    """Lets waiting receivers go at the signal to stop, which would otherwise last as long as they wait."""

    def __init__(self, config: uvicorn.Config, release: Callable[[], None]) -> None:
        super().__init__(config)
        self._release = release

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._release()
        super().handle_exit(sig, frame)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devops_mcp.embedded.sqs", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9324)
    parser.add_argument("--data", type=Path, required=True, help="folder of the journal; created if missing")
    parser.add_argument(
        "--durability",
        type=Durability,
        choices=list(Durability),
        default=Durability.MACHINE,
        help="what an acknowledged change survives: a power cut, or only the end of this process",
    )
    options = parser.parse_args(arguments)
    start_logging("sqs", console=sys.stderr.isatty())
    try:
        journal = Journal(options.data, options.durability)
        server = Server(journal, clock=_steady_wall_clock(), new_id=lambda: str(uuid4()))
    except PlatformError as error:
        sys.stderr.write(f"{error.message}\n")
        return os.EX_CONFIG
    _serve(server, options.host, options.port)
    return os.EX_OK


def _serve(server: Server, host: str, port: int) -> None:
    config = uvicorn.Config(
        server,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_WITHIN_S,
    )
    # Uvicorn raises the signal again once it has stopped; here that must not turn a clean stop into a death by signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _Uvicorn(config, server.release_pollers).run()


def _steady_wall_clock() -> Callable[[], float]:
    """Seconds since 1970 that never run backwards while the process lives."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


if __name__ == "__main__":
    sys.exit(main())
