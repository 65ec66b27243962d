"""Which arguments go with which action."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import pytest
from pydantic import ValidationError

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import ListParams


class DoorParams(ByAction, ListParams):
    action: Literal["open", "close", "paint"]
    number: int | None = None
    colour: str | None = None
    coats: int = 1
    note: str | None = None
    finish: str | None = "matt"

    actions: ClassVar[Mapping[str, Takes]] = {
        "open": Takes(needs=("number",)),
        "close": Takes(),
        "paint": Takes(needs=("number",), any_of=("colour", "note"), may=("coats", "finish")),
    }


def refusal(**arguments: object) -> str:
    with pytest.raises(ValidationError) as error:
        DoorParams.model_validate(arguments)
    return str(error.value.errors()[0]["msg"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": "open", "number": 1},
        {"action": "close"},
        {"action": "close", "limit": 5, "cursor": "x", "target": "home"},
        {"action": "paint", "number": 1, "colour": "red", "coats": 2},
        {"action": "close", "number": None, "finish": None, "coats": 1},
    ],
)
def test_what_an_action_takes_is_accepted_and_null_or_the_default_is_nothing(
    arguments: dict[str, object],
) -> None:
    assert DoorParams.model_validate(arguments).action == arguments["action"]


def test_a_missing_argument_is_named_with_its_action() -> None:
    assert refusal(action="open") == "Value error, action 'open' needs number"
    assert refusal(action="open", number=None) == "Value error, action 'open' needs number"
    assert (
        refusal(action="paint", number=1) == "Value error, action 'paint' needs at least one of colour, note"
    )


def test_an_argument_of_another_action_is_refused_rather_than_ignored() -> None:
    assert (
        refusal(action="open", number=1, colour="red")
        == "Value error, action 'open' does not take colour; it takes number"
    )
    assert (
        refusal(action="close", coats=2)
        == "Value error, action 'close' does not take coats; it takes nothing more"
    )


def test_an_unknown_action_is_refused_once() -> None:
    assert refusal(action="slam") == "Input should be 'open', 'close' or 'paint'"


def test_a_table_that_does_not_fit_its_fields_is_found_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="key"):

        class Misnamed(ByAction):
            action: Literal["open"]
            actions: ClassVar[Mapping[str, Takes]] = {"open": Takes(needs=("key",))}

    with pytest.raises(TypeError, match="action"):

        class Unlisted(ByAction):
            action: Literal["open", "close"]
            actions: ClassVar[Mapping[str, Takes]] = {"open": Takes()}
