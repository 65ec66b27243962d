"""`python -m devops_mcp.embedded run --state FOLDER`."""

import argparse
import signal
import sys
from pathlib import Path

from devops_mcp.embedded.process import end_with_parent
from devops_mcp.embedded.run import run


def main() -> int:
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
    if given.end_with_parent:
        end_with_parent(signal.SIGTERM)
    return run(given.state)


if __name__ == "__main__":
    sys.exit(main())
