"""`python -m devops_mcp.embedded run --state FOLDER`."""

import argparse
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m devops_mcp.embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser(
        "run", help="start PostgreSQL, Redis, the queue and the three services; Ctrl-C stops them"
    )
    running.add_argument(
        "--state", type=Path, default=Path(".data"), help="where data, logs and passwords are kept"
    )
    running.add_argument(
        "--end-with-parent",
        action="store_true",
        help="stop when the starting process ends, even if it was killed (Linux)",
    )
    given = parser.parse_args()
    # Imported after the clock has started: it takes part of the time that a person waits.
    from devops_mcp.embedded.copies import uncollected

    with uncollected():
        from devops_mcp.embedded.process import end_with_parent
        from devops_mcp.embedded.run import run

    if given.end_with_parent:
        end_with_parent(signal.SIGTERM)
    return run(given.state, begun)


if __name__ == "__main__":
    sys.exit(main())
