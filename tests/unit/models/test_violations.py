"""What pydantic finds wrong, as callers read it."""

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator

from devops_mcp.models.errors import MAX_MESSAGE, NotFound
from devops_mcp.models.violations import TOO_MANY, details_of, refused


class Wheel(BaseModel):
    spokes: int

    @field_validator("spokes")
    @classmethod
    def _even(cls, spokes: int) -> int:
        if spokes % 2:
            raise ValueError("must be even")
        return spokes


class Cart(BaseModel, extra="forbid"):
    wheels: list[Wheel]


def faults(given: object, **asked) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as error:
        Cart.model_validate(given)
    return [(v.where, v.problem) for v in refused(error.value, **asked).violations]


@pytest.mark.parametrize(
    ("given", "within", "found"),
    [
        ({"wheels": [{"spokes": 2}, {"spokes": 3}]}, "body", [("body.wheels.1.spokes", "must be even")]),
        ({"wheels": ["round"]}, "", [("wheels.0", "Input should be an object")]),
        ("round", "line 1", [("line 1", "Input should be an object")]),
        ("round", "", [("input", "Input should be an object")]),
        ({"wheels": [], "colour": 1}, "body", [("body.colour", "is not known here")]),
    ],
)
def test_a_fault_is_named_by_its_path_and_neither_by_a_class_nor_by_an_exception(given, within, found):
    assert faults(given, within=within) == found


def test_no_more_faults_are_named_than_asked_for():
    assert len(faults({"wheels": [{"spokes": 1}] * 7}, most=5)) == 5


def test_of_many_faults_the_first_are_named_and_of_very_many_none():
    wheels = [{"spokes": 3}] * TOO_MANY
    assert len(faults({"wheels": wheels})) == 100
    with pytest.raises(ValidationError) as error:
        Cart.model_validate({"wheels": [*wheels, {"spokes": 3}]})
    told = refused(error.value, "body")
    assert told.violations == ()
    assert told.message.startswith(f"body: {TOO_MANY + 1} faults")


def test_a_fault_whose_path_is_long_comes_back_short():
    with pytest.raises(ValidationError) as error:
        TypeAdapter(dict[str, Wheel]).validate_python({"x" * 100_000: {"spokes": 3}})
    [fault] = refused(error.value).violations
    assert (len(fault.where), fault.problem) == (300, "must be even")


def test_what_a_caller_sent_comes_back_in_part_only():
    message = NotFound(f"there is no tool {'x' * 100_000}").message
    assert (len(message), message[-1]) == (MAX_MESSAGE + 1, "…")


def test_too_many_faults_are_told_as_one_by_who_tells_them_otherwise():
    with pytest.raises(ValidationError) as error:
        Cart.model_validate({"wheels": [{"spokes": 3}] * (TOO_MANY + 1)})
    assert [fault["msg"] for fault in details_of(error.value)] == [f"has {TOO_MANY + 1} faults"]
