"""`python -m devops_mcp.embedded run --state FOLDER`."""

import argparse
import sys
from pathlib import Path

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
    return run(parser.parse_args().state)


if __name__ == "__main__":
    sys.exit(main())
