"""`make bench`, or `python -m benchmarks`; BENCH=intake,search chooses parts."""

import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import consuming, draining, index, memory, parts, protocol, quality, rest
from benchmarks.measure import Row, table
from benchmarks.world import World, running_suite, world  # first: it makes tests/support importable
from devops_mcp.observability.logging import start_logging
from devops_mcp.serving.server import run

ON_REQUEST = {"quality": quality.part, "index": index.part, "curve": index.curve}
"""Long, or in need of Debian's packages: only where they are named."""
WITHOUT_MODEL = {
    "intake": parts.intake,
    "worker": consuming.worker,
    "drain": draining.drain,
    "rest": rest.rest,
}
WITH_MODEL = {
    "tools": parts.tools,
    "protocol": protocol.protocol,
    "idle": protocol.idle,
    "notify": parts.notify,
    "search": parts.search,
    "window": memory.window,
    "embedding": parts.embedding,
}


# The generator is one caller, and what is measured is not its limit; the limiter itself runs.
UNLIMITED = {
    "DEVOPS_MCP_TOOL_CALLS_PER_S": "100000",
    "DEVOPS_MCP_TOOL_CALLS_BURST": "1000000",
    "DEVOPS_MCP_REQUESTS_PER_S": "100000",
    "DEVOPS_MCP_REQUESTS_BURST": "1000000",
}


def main() -> int:
    usual = ["start", *WITHOUT_MODEL, *WITH_MODEL]
    known = [*usual, *ON_REQUEST]
    chosen = [name for name in os.environ.get("BENCH", "").split(",") if name] or usual
    if unknown := set(chosen) - set(known):
        print(f"no part is named {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
        return 2
    # Made as services make them; written, they would be between the lines of the table.
    start_logging("bench", stream=Path(os.devnull).open("wb"))  # noqa: SIM115
    rows: list[Row] = start() if "start" in chosen else []
    # Without a model, so that nothing computes vectors while events are counted.
    quiet = WITHOUT_MODEL | ON_REQUEST
    rows += _run(
        {n: p for n, p in quiet.items() if n in chosen}, DEVOPS_MCP_EMBEDDING_PROVIDER="lexical", **UNLIMITED
    )
    rows += _run({n: p for n, p in WITH_MODEL.items() if n in chosen}, **UNLIMITED)
    print(
        f"\n{table(rows)}\n\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; read the ratios, not the figures"
    )
    return 0


def _run(chosen: dict[str, parts.Part], **environment: str) -> list[Row]:
    if not chosen:
        return []
    with world(**environment) as suite:
        return run(lambda: _all(suite, chosen))


async def _all(suite: World, chosen: dict[str, parts.Part]) -> list[Row]:
    rows: list[Row] = []
    for name, part in chosen.items():
        print(f"{name} …", flush=True)
        rows += await part(suite)
    return rows


def start() -> list[Row]:
    """The suite in an empty folder, and again in the same."""
    print("start …", flush=True)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        for _ in range(3):
            begun = time.monotonic()
            with running_suite(Path(folder) / "state"):
                seconds.append(time.monotonic() - begun)
    return [Row("start", f"cold {seconds[0]:.1f} s, warm {min(seconds[1:]):.1f} s", "goal: warm under 5 s")]


if __name__ == "__main__":
    sys.exit(main())
