"""What a rule says of events, and which of them it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from devops_mcp.models.base import OWN_SYSTEM
from devops_mcp.models.rules import FieldTest, Match, RuleDraft, is_same

FIRED = {
    "type": "alert.fired",
    "subject": "shop",
    "labels": {"severity": "critical", "team": "web"},
    "count": 3,
    "load": 0.5,
    "failed": True,
    "url": None,
    "messages": ["first", "second"],
}
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text()


def holds(path: str, operator: str, value: object = None, values: tuple[object, ...] = ()) -> bool:
    test = FieldTest.model_validate({"path": path, "operator": operator, "value": value, "values": values})
    return test.holds(FIRED)


@pytest.mark.parametrize(
    ("path", "operator", "value", "expected"),
    [
        ("$.labels.severity", "equals", "critical", True),
        ("$.labels.severity", "equals", "Critical", False),
        ("$.labels.none", "equals", None, False),
        ("$.url", "equals", None, True),
        ("$.failed", "equals", 1, False),
        ("$.count", "equals", 3.0, True),
        ("$.labels.severity", "not_equals", "critical", False),
        ("$.labels.none", "not_equals", "critical", True),
        ("$.messages", "contains", "second", True),
        ("$.messages", "contains", "sec", False),
        ("$.subject", "contains", "ho", True),
        ("$.count", "contains", "3", False),
        ("$.labels.team", "like", "w?b", True),
        ("$.labels.team", "like", "w", False),
        ("$.count", "like", "3", False),
        ("$.count", "at_least", 3, True),
        ("$.count", "at_least", 4, False),
        ("$.load", "at_most", 0.5, True),
        ("$.failed", "at_most", 5, False),
        ("$.subject", "at_least", 0, False),
        ("$.url", "exists", None, True),
        ("$.nothing", "exists", None, False),
    ],
)
def test_a_field_is_compared(path, operator, value, expected):
    assert holds(path, operator, value) is expected


def test_one_of_several_values_is_enough():
    assert holds("$.labels.severity", "one_of", None, ("warning", "critical"))
    assert not holds("$.labels.severity", "one_of", None, ("warning",))


@given(SCALARS, SCALARS)
def test_equality_is_that_of_json(one, other):
    """A text is never a number, and true never 1."""
    of_one_kind = type(one) is type(other) or {type(one), type(other)} == {int, float}
    assert is_same(one, other) == (of_one_kind and one == other)


@given(
    SCALARS, st.sampled_from(["equals", "not_equals", "contains", "exists"]), st.sampled_from(sorted(FIRED))
)
def test_every_comparison_of_anything_with_anything_has_an_answer(value, operator, name):
    document = {"path": f"$.{name}", "operator": operator, "value": value}
    try:
        test = FieldTest.model_validate(document)
    except ValidationError:
        assert isinstance(value, str)  # too long
        assert len(value) > 1_000
        return
    assert test.holds(FIRED) in (True, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "$..x", "value": 1},
        {"path": "$.x", "operator": "one_of"},
        {"path": "$.x", "operator": "equals", "values": [1]},
        {"path": "$.x", "operator": "like", "value": 5},
        {"path": "$.x", "operator": "like", "value": "*" * 201},
        {"path": "$.x", "operator": "at_least", "value": "5"},
        {"path": "$.x", "operator": "at_most", "value": True},
        {"path": "$.x", "operator": "matches", "value": "(a+)+"},
        {"path": "$.x", "value": {"a": 1}},
        {"path": "$.x", "value": "x" * 1_001},
    ],
)
def test_what_cannot_be_compared_is_refused(wrong):
    """I01"""
    with pytest.raises(ValidationError):
        FieldTest.model_validate(wrong)


def chosen(match: dict[str, object], **names: str) -> bool:
    given_names = {
        "type_": "build.finished",
        "system": "github",
        "source": "github-prod",
        "subject": "acme/shop",
    }
    return Match.model_validate(match).chooses(**{**given_names, **names})


def test_an_event_is_chosen_by_all_that_is_named():
    match = {
        "types": ["build.*"],
        "systems": ["git*"],
        "sources": ["github-prod"],
        "subjects": ["acme/*", "x"],
    }
    assert chosen(match)
    assert not chosen(match, type_="alert.fired")
    assert not chosen(match, system="sonarqube")
    assert not chosen(match, source="github-test")
    assert not chosen(match, subject="other/shop")


def test_events_of_our_own_are_meant_only_where_they_are_named():
    ours = {
        "type_": "tool.called",
        "system": OWN_SYSTEM,
        "source": OWN_SYSTEM,
        "subject": "github_issue_write",
    }
    assert chosen({})
    assert not chosen({}, **ours)
    assert chosen({"types": ["tool.called"]}, **ours)
    assert chosen({"sources": [OWN_SYSTEM]}, **ours)


@given(st.text(min_size=1, max_size=200), st.text(max_size=300))
def test_any_text_is_a_pattern_and_has_an_answer(pattern, subject):
    assert chosen({"subjects": [pattern]}, subject=subject) in (True, False)


def test_a_pattern_that_would_try_every_way_is_answered_at_once():
    """I01: it would outlast the universe where stars are tried again and again."""
    assert not chosen({"subjects": ["*a" * 99 + "b"]}, subject="a" * 300)
    test = FieldTest.model_validate({"path": "$.body", "operator": "like", "value": "*a" * 99 + "b"})
    assert not test.holds({"body": "a" * 100_000})


def test_the_example_of_the_document_is_a_rule():
    [example] = RuleDraft.model_json_schema()["examples"]
    draft = RuleDraft.model_validate(example)
    assert draft.match.holds({"failed": True, "branch": "main"})
    assert not draft.match.holds({"failed": True, "branch": "feature"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"match": {"fields": [{"path": "$.x"}] * 11}},
        {"match": {"subjects": ["x"] * 51}},
        {"match": {"subjects": ["x" * 201]}},
        {"action": {"kind": "shell", "command": "id"}},
        {"action": {"kind": "tool", "tool": "x", "repeat_after_s": -1}},
        {"limit": {"runs": 1_001}},
        {"limit": {"runs": 0}},
        {"owner_id": "00000000-0000-0000-0000-000000000001"},
        {"name": ""},
    ],
)
def test_what_is_beyond_the_bounds_is_refused(wrong):
    [example] = RuleDraft.model_json_schema()["examples"]
    with pytest.raises(ValidationError):
        RuleDraft.model_validate({**example, **wrong})
