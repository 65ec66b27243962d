"""Recorded webhooks of every source: the payloads under `recorded` beside the adapter's unit tests, with the headers that came with them.

`headers.json` beside that folder names headers by payload, `*` those of all; `{name}` stands for the payload's name, `{id}` for an id of
the delivery. What proves the sender is not recorded: `support.webhook_proofs` makes it anew.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from support.node import webhook_examples

_ADAPTERS = Path(__file__).parents[1] / "unit" / "adapters"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A payload, and the headers of its system."""

    system: str
    name: str
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    def fresh_headers(self) -> dict[str, str]:
        return headers_of(self.system, self.name)


def recorded(system: str) -> list[Recorded]:
    """All that was recorded of a system. Of GitHub also the first example of each event in npm @octokit/webhooks-examples."""
    files = sorted((_ADAPTERS / system / "recorded").glob("*.json"))
    found = [Recorded(system, path.stem, path.read_bytes()) for path in files]
    if system == "github":
        examples = webhook_examples()
        found += [Recorded(system, name, json.dumps(examples[name][0]).encode()) for name in sorted(examples)]
    return found


def headers_of(system: str, name: str) -> dict[str, str]:
    """The headers that a payload comes with, under a new id of the delivery."""
    table = _headers(system)
    told = {"content-type": "application/json"} | table.get("*", {}) | table.get(name, {})
    return {
        header: value.replace("{name}", name).replace("{id}", str(uuid4())) for header, value in told.items()
    }


@cache
def _headers(system: str) -> dict[str, dict[str, str]]:
    path = _ADAPTERS / system / "headers.json"
    table: dict[str, dict[str, str]] = json.loads(path.read_bytes()) if path.exists() else {}
    return table
