"""JSON paths: what they select, and that none holds up the process that asks."""

import asyncio
import json
import sys

import pytest

from devops_mcp.models.errors import Internal, InvalidInput
from devops_mcp.operations.json_path import AT_ONCE, JsonPaths

DOCUMENT = json.dumps({"items": [{"name": f"n{i}", "text": "a" * 40 + "!"} for i in range(2_000)]})
COMPARES_ALL_WITH_ALL = "$..[?count($..*) > 0]"
TRIES_FOR_EVER = "$.items[?match(@.text, '(a|a)*b')]"


async def test_what_a_path_selects_comes_as_json():
    paths = JsonPaths()
    assert json.loads(await paths.select(DOCUMENT, "$.items[3].name")) == ["n3"]
    assert json.loads(await paths.select(DOCUMENT, "$.items[?@.name == 'n7'].name")) == ["n7"]
    assert json.loads(await paths.select('{"ä": "ü"}', "$['ä']")) == ["ü"]
    assert json.loads(await paths.select(DOCUMENT, "$.nothing")) == []


@pytest.mark.parametrize("path", ["$.items[", "$[?nonsense(@)]", "$..", "?"])
async def test_what_is_no_path_is_refused(path):
    with pytest.raises(InvalidInput, match="not a JSON path"):
        await JsonPaths().select(DOCUMENT, path)


@pytest.mark.parametrize("path", [COMPARES_ALL_WITH_ALL, TRIES_FOR_EVER])
async def test_a_path_that_asks_for_too_much_is_stopped_while_everything_else_goes_on(path):
    selecting = asyncio.create_task(JsonPaths(cpu_s=1).select(DOCUMENT, path))
    turns = 0
    while not selecting.done():
        turns += 1
        await asyncio.sleep(0.01)
    with pytest.raises(InvalidInput, match="takes more than 1 s"):
        await selecting
    assert turns > 1


async def test_a_path_that_selects_too_much_is_refused():
    nested: list[object] = []
    for _ in range(60):
        nested = [nested, "x" * 10_000]
    with pytest.raises(InvalidInput, match="selects more than"):
        await JsonPaths().select(json.dumps(nested), "$..*")


async def test_that_the_process_fails_is_not_laid_to_the_path(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Internal):
        await JsonPaths().select("[1]", "$[0]")


async def test_a_path_through_a_document_too_deep_for_an_answer_is_refused():
    with pytest.raises(InvalidInput, match="nested too deeply"):
        await JsonPaths().select("[" * 600 + "]" * 600, "$[0]")


async def test_who_waits_no_longer_leaves_nothing_that_runs():
    paths = JsonPaths(cpu_s=60)
    selecting = [asyncio.create_task(paths.select(DOCUMENT, TRIES_FOR_EVER)) for _ in range(AT_ONCE)]
    done, _ = await asyncio.wait(selecting, timeout=0.2)
    assert not done
    for one in selecting:
        one.cancel()
    await asyncio.gather(*selecting, return_exceptions=True)
    assert json.loads(await paths.select("[1]", "$[0]")) == [1]
