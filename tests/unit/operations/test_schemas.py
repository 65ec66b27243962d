"""Brief schemas say the same as those that pydantic makes."""

from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from devops_mcp.operations.schemas import brief


class Part(BaseModel):
    """For us."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["a", "b"] = "a"
    text: str = Field(max_length=10)


class Tree(BaseModel):
    children: list["Tree"] = []


class Arguments(BaseModel):
    """For us."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(description="What it is called.")
    first: Part
    second: Part | None = None
    anything: dict[str, JsonValue] = Field(default_factory=dict)
    many: int | str | None = None
    default: str = "kept"
    tree: Tree | None = None


SCHEMA = brief(Arguments.model_json_schema())


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ({"title": "x", "first": {"text": "y"}}, True),
        ({"title": "x", "first": {"kind": "b", "text": "y"}, "second": {"text": "z"}}, True),
        ({"title": "x", "first": {"text": "y"}, "anything": {"a": [1, {"b": None}]}}, True),
        ({"title": "x", "first": {"text": "y"}, "tree": {"children": [{"children": []}]}}, True),
        ({"title": "x", "first": {"text": "y"}, "many": 1.5}, False),
        ({"title": "x", "first": {"kind": "c", "text": "y"}}, False),
        ({"title": "x", "first": {"text": "y", "more": 1}}, False),
        ({"title": "x", "first": {"text": "y"}, "tree": {"children": [7]}}, False),
        ({"title": "x"}, False),
        ({"title": 1, "first": {"text": "y"}}, False),
        ({"title": "x", "first": {"text": "y"}, "colour": 1}, False),
    ],
)
def test_the_brief_schema_judges_arguments_alike(arguments: dict[str, Any], fits: bool):
    assert Draft202012Validator(Arguments.model_json_schema()).is_valid(arguments) == fits
    assert Draft202012Validator(SCHEMA).is_valid(arguments) == fits


def test_what_tells_a_reader_nothing_is_gone_and_what_tells_something_stays():
    properties: Any = SCHEMA["properties"]
    assert "description" not in SCHEMA
    assert properties["title"] == {"type": "string", "description": "What it is called."}
    assert properties["default"] == {"type": "string", "default": "kept"}
    assert properties["anything"] == {"type": "object"}
    assert properties["many"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}


def test_a_definition_used_twice_or_by_itself_stays_a_definition():
    assert set(SCHEMA["$defs"]) == {"Part", "Tree"}  # type: ignore[call-overload]


def test_of_a_result_nothing_is_required():
    schema = brief(Arguments.model_json_schema(mode="serialization"), of_result=True)
    assert Draft202012Validator(schema).is_valid({})
    assert Draft202012Validator(schema).is_valid({"first": {}, "more": 1})
    assert not Draft202012Validator(schema).is_valid({"title": 7})
