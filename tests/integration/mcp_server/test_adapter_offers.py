"""Prompts and resources of systems: on the integration that is meant, for who may use it there, as for tools."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference
from pydantic import BaseModel

import devops_mcp.operations.platform as platform
from devops_mcp.adapters.base import Adapter, Outside, Prompt, PromptArgument, PromptMessage, Resource
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.models.content import Document, Text
from devops_mcp.models.conversation import Conversation
from support.agents import ERAS, agent
from support.services import new_key, running_mcp, settings_for


class Place(BaseModel):
    place: str


@asynccontextmanager
async def connect(settings: Place, outside: Outside) -> AsyncIterator[str]:
    yield settings.place


async def greet(
    place: str, arguments: Mapping[str, str], conversation: Conversation
) -> tuple[PromptMessage, ...]:
    return (PromptMessage(content=Text(text=f"{arguments['name']} at {place}")),)


async def names(place: str, begun: str) -> list[str]:
    return [f"{begun} of {place}"]


async def read(place: str, holes: Mapping[str, str]) -> Document:
    return Document(
        uri=f"place://{holes['page']}", mime_type="text/plain", text=f"{holes['page']} of {place}"
    )


PLACES = Adapter(
    name="places",
    title="Places",
    settings=Place,
    connect=connect,
    ping=None,
    prompts=(Prompt("greet", "Greet", "Greets.", greet, (PromptArgument("name", "Whom.", True, names),)),),
    resources=(Resource("place://{page}", "page", "Page", "A page.", "text/plain", read, {"page": names}),),
)


@pytest.fixture
def settings(database, redis_url, monkeypatch):
    monkeypatch.setattr(platform, "load_adapters", lambda: {**load_adapters(), "places": PLACES})
    integrations = [
        {"name": name, "system": "places", "options": {"place": name}} for name in ("attic", "cellar", "hall")
    ]
    return settings_for(database.mcp_url, redis_url, integrations=integrations)


async def greeted(client: Any, **arguments: str) -> str:
    return (await client.get_prompt("greet", {"name": "Ann", **arguments})).messages[0].content.text


async def page(client: Any, uri: str) -> str:
    [content] = (await client.read_resource(uri)).contents
    assert str(content.uri) == uri
    return content.text


@pytest.mark.parametrize("era", ERAS)
async def test_a_grant_for_one_integration_gives_that_one_only(database, settings, era):
    """A18, O09: the first that the caller may use is meant where none is named, and no other is reached by naming it."""
    key = await new_key(
        database.owner_url, "prompts:read:greet@cellar", "resources:read:places@cellar", "contexts:read"
    )
    async with running_mcp(settings) as url, agent("ws", url, key, era) as client:
        [prompt] = (await client.list_prompts()).prompts
        assert [argument.name for argument in prompt.arguments] == ["name"], "there is no choice to make"
        assert await greeted(client) == await greeted(client, target="cellar") == "Ann at cellar"
        assert await page(client, "place://7") == "7 of cellar"
        assert await page(client, "place://7?target=cellar") == "7 of cellar"
        reference = PromptReference(type="ref/prompt", name="greet")
        for begun in ({"name": "name", "value": "A"}, {"name": "target", "value": "c"}):
            completed = await client.complete(reference, begun)
            assert completed.completion.values in (["A of cellar"], ["cellar"])
        for other in ("attic", "nowhere"):
            with pytest.raises(MCPError):
                await greeted(client, target=other)
            with pytest.raises(MCPError):
                await page(client, f"place://7?target={other}")


async def test_who_may_use_several_chooses_one_and_has_the_first_by_default(database, settings):
    key = await new_key(
        database.owner_url, "prompts:*", "resources:read:places@attic", "resources:read:*@hall"
    )
    async with running_mcp(settings) as url, agent("ws", url, key, ERAS[0]) as client:
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
        assert [argument.name for argument in prompts["greet"].arguments] == ["name", "target"]
        assert [argument.name for argument in prompts["triage_alert"].arguments] == ["alert"]
        assert await greeted(client) == "Ann at attic"
        assert await greeted(client, target="hall") == "Ann at hall"
        assert await page(client, "place://7?target=hall") == "7 of hall"
        with pytest.raises(MCPError):
            await page(client, "place://7?target=cellar")


async def test_who_may_use_none_sees_nothing_of_them(database, settings):
    key = await new_key(database.owner_url, "prompts:read:triage_*", "resources:read:github", "contexts:read")
    async with running_mcp(settings) as url, agent("ws", url, key, ERAS[0]) as client:
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["triage_alert"]
        templates = (await client.list_resource_templates()).resource_templates
        assert "place://{page}" not in {template.uri_template for template in templates}
        for refused in (greeted(client), page(client, "place://7")):
            with pytest.raises(MCPError):
                await refused
