"""One list of exchanges over every transport and in every revision: the answers are equal, whichever way they came."""

import json
from typing import Any

import pytest

from support.channels import ALL_REVISIONS, STATELESS, TRANSPORTS, asking, channel, opening, serves
from support.services import new_key, running_mcp, settings_for

REFERENCE = "ws"

COMMON: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tools/list", {}),
    ("tools/list", {"cursor": "not one of ours"}),
    ("tools/call", {"name": "fs_read", "arguments": {"path": "work/notes.txt"}}),
    ("tools/call", {"name": "fs_read", "arguments": {"path": "work/absent.txt"}}),
    ("tools/call", {"name": "fs_read", "arguments": {"path": "work/notes.txt", "colour": "red"}}),
    ("tools/call", {"name": "fs_read"}),
    ("tools/call", {"name": "fs_write", "arguments": {"path": "work/notes.txt", "content": "lost"}}),
    ("tools/call", {"name": "no_such_tool", "arguments": {}}),
    ("tools/call", {"name": "fs_read", "arguments": []}),
    ("tools/call", {"arguments": {}}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "devops://events"}),
    ("resources/read", {"uri": "devops://contexts/0"}),
    ("resources/read", {"uri": "elsewhere://x"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "no_such_prompt"}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "y", "value": "z"}},
    ),
    ("tools/eat", {}),
    ("logging/eat", {"level": "loud"}),
)
HANDSHAKE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ping", {}),
    ("logging/setLevel", {"level": "warning"}),
    ("logging/setLevel", {"level": "loud"}),
    ("resources/subscribe", {"uri": "devops://events"}),
    ("resources/unsubscribe", {"uri": "devops://events"}),
)
BROKEN = (
    "{",
    "7",
    '[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
    '{"jsonrpc":"2.0","id":null,"method":"ping"}',
    '{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}',
    '{"jsonrpc":"1.0","id":1,"method":"ping"}',
    '{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
)
"""J01, J02, J04"""


@pytest.fixture
def settings(database, redis_url, tmp_path):
    (tmp_path / "notes.txt").write_text("what we know")
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    files = {"name": "files", "system": "fs", "options": {"roots": roots}}
    return settings_for(database.mcp_url, redis_url, [files])


def exchanges(revision: str) -> list[str]:
    listed = COMMON if revision == STATELESS else (*COMMON, *HANDSHAKE)
    asked = [opening(revision)]
    if revision != STATELESS:
        asked.append({"jsonrpc": "2.0", "method": "notifications/initialized"})
    asked += [asking(revision, method, **params) for method, params in listed]
    numbered = [
        message | ({"id": number} if "params" in message else {}) for number, message in enumerate(asked)
    ]
    return [*map(json.dumps, numbered), *BROKEN]


async def answers(transport: str, url: str, key: str, revision: str) -> list[tuple[str, Any]]:
    async with channel(transport, url, key, revision) as ask:
        return [(text, await ask(text)) for text in exchanges(revision)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("revision", ALL_REVISIONS)
async def test_every_transport_answers_alike(database, settings, revision):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        expected = await answers(REFERENCE, url, key, revision)
        for transport in TRANSPORTS:
            if transport != REFERENCE and serves(transport, revision):
                for ours, theirs in zip(await answers(transport, url, key, revision), expected, strict=True):
                    assert ours == theirs, f"{transport} and {REFERENCE} answer {ours[0]} differently"
    said = [answer for _, answer in expected if answer is not None]
    assert len([answer for answer in said if "result" in answer]) >= 10
    assert len([answer for answer in said if "error" in answer]) >= 10
