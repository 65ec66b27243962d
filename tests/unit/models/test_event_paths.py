"""Paths to one place in a document."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.models.event_paths import MAX_LENGTH, Missing, is_path, value_at

NAMES = st.text(st.characters(exclude_characters="'\\", exclude_categories=("Cs",)), min_size=1, max_size=8)
STEPS = st.lists(NAMES | st.integers(0, 5), min_size=1, max_size=5)
DOCUMENT = {"subject": "acme/shop", "labels": {"a b": {"c": 1}}, "messages": ["first", {"x": None}]}


def written(steps: list[str | int]) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in steps)


def around(steps: list[str | int], value: Any) -> Any:
    for step in reversed(steps):
        value = [*([None] * step), value] if isinstance(step, int) else {step: value}
    return value


@given(STEPS, st.integers())
def test_a_path_leads_to_what_stands_there(steps, value):
    assert is_path(written(["top", *steps]))
    assert value_at(written(["top", *steps]), {"top": around(steps, value)}) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$.subject", "acme/shop"),
        ("$[\"labels\"]['a b'].c", 1),
        ("$.messages[0]", "first"),
        ("$.messages[1].x", None),
    ],
)
def test_each_way_of_writing_a_step_is_read(path, value):
    assert is_path(path)
    assert value_at(path, DOCUMENT) == value


@pytest.mark.parametrize(
    "path", ["$.nothing", "$.subject.x", "$.messages[2]", "$.messages.x", "$.labels[0]", "$['']x"]
)
def test_what_is_not_there_is_missing(path):
    if is_path(path):
        with pytest.raises(Missing):
            value_at(path, DOCUMENT)


@pytest.mark.parametrize(
    "text",
    [
        *("", "$", "subject", ".subject", "$subject", "$.", "$..subject", "$.*", "$[*]", "$[?(@.x)]", "$[0:2]", "$[-1]"),
        *("$[01]", "$[9999999]", "$['a]", "$['a\\'b']", "$.a b", "$.a ", " $.a", "$.a[0.b]", "$.é", "$.a\n", "$['a'"),
        "$" + ".a" * MAX_LENGTH,
    ],
)  # fmt: skip
def test_what_leads_to_several_places_or_none_is_no_path(text):
    """I01"""
    assert not is_path(text)


@given(st.text(max_size=400))
def test_whatever_is_given_is_a_path_or_not(text):
    if is_path("$" + text):
        with pytest.raises(Missing):
            value_at("$" + text, {})
