"""What pydantic finds wrong, as callers read it."""

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from devops_mcp.models.violations import refused


class Wheel(BaseModel):
    spokes: int

    @field_validator("spokes")
    @classmethod
    def _even(cls, spokes: int) -> int:
        if spokes % 2:
            raise ValueError("must be even")
        return spokes


class Cart(BaseModel):
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
    ],
)
def test_a_fault_is_named_by_its_path_and_neither_by_a_class_nor_by_an_exception(given, within, found):
    assert faults(given, within=within) == found


def test_no_more_faults_are_named_than_asked_for():
    assert len(faults({"wheels": [{"spokes": 1}] * 7}, most=5)) == 5
