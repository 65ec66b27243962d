"""The stateful GitHub emulator (npm emulate 0.12.2), seeded with a repository of an organization.

It keeps repositories, contents, commits, issues, pull requests, reviews, releases, check runs, search and hooks, and sends signed webhooks.
It lacks ETags, Actions runs, deployments, alerts and the diff media type: for those see `support.github_fake`.
"""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from devops_mcp.embedded.ports import free_port
from support.node import MODULES, NODE

OWNER = "acme"
REPO = "acme/shop"
LOGIN = "acme-bot"
REVIEWER = "octocat"
TOKEN = "emulated-token-of-acme-bot"
REVIEWER_TOKEN = "emulated-token-of-octocat"
SEED = {
    "tokens": {
        TOKEN: {"login": LOGIN, "scopes": ["repo", "user", "workflow"]},
        REVIEWER_TOKEN: {"login": REVIEWER, "scopes": ["repo"]},
    },
    "github": {
        "users": [{"login": LOGIN, "name": "Acme's bot"}, {"login": REVIEWER, "name": "The Octocat"}],
        "orgs": [
            {
                "login": OWNER,
                "members": [{"login": LOGIN, "role": "admin"}, {"login": REVIEWER, "role": "admin"}],
            }
        ],
        "repos": [{"owner": OWNER, "name": "shop", "description": "Sells things", "auto_init": True}],
    },
}
START_WITHIN_S = 60.0


@asynccontextmanager
async def github_emulator() -> AsyncIterator[str]:
    """An emulator of its own; gives its address."""
    with run_github_emulator() as address:
        yield address


@contextmanager
def run_github_emulator() -> Iterator[str]:
    """The same for fixtures that are not asynchronous. It ends with its standard input, hence with this process, however that dies."""
    port = free_port()
    script = MODULES.parent / "github_emulator.mjs"
    with subprocess.Popen(
        [str(NODE), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"port": port, **SEED}) + "\n")
        process.stdin.flush()
        address = process.stdout.readline().strip()
        assert address, f"the emulator ended with {process.wait(START_WITHIN_S)}"
        try:
            yield address
        finally:
            process.stdin.close()
            process.wait(START_WITHIN_S)
