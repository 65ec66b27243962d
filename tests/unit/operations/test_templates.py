"""Arguments with places for an event's fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.models.errors import InvalidInput
from devops_mcp.operations.templates import MAX_PLACES, check, fill, fill_text

EVENT = {
    "subject": "acme/shop",
    "number": 7,
    "failed": True,
    "load": 0.5,
    "url": None,
    "labels": {"a-b": ["x"]},
}


def test_a_place_alone_is_filled_with_the_value_as_it_is():
    template = {"n": "{{ $.number }}", "all": ["{{$.labels}}", {"u": "{{  $.url }}"}], "keep": 5, "name": "x"}
    assert check(template, "arguments")
    assert fill(template, EVENT) == {"n": 7, "all": [{"a-b": ["x"]}, {"u": None}], "keep": 5, "name": "x"}


def test_a_place_within_a_text_is_filled_with_text():
    template = "{{ $.subject }}#{{$.number}} {{ $.failed }} {{ $.load }} {{ $.labels['a-b'][0] }}"
    assert fill_text(template, EVENT) == "acme/shop#7 true 0.5 x"


def test_what_is_filled_in_is_never_read_again():
    """I01"""
    event = {"title": "{{ $.secret }}", "secret": "canary"}
    assert fill({"t": "{{ $.title }}", "u": "x {{ $.title }}"}, event) == {
        "t": "{{ $.secret }}",
        "u": "x {{ $.secret }}",
    }


@pytest.mark.parametrize(
    "template", ["{{ $.nothing }}", "x {{ $.nothing }}", "x {{ $.url }}", "x {{ $.labels }}"]
)
def test_what_the_event_lacks_or_no_text_can_hold_is_said(template):
    with pytest.raises(InvalidInput, match=r"\$\.(nothing|url|labels)"):
        fill({"a": template}, EVENT)


@pytest.mark.parametrize(
    "template",
    [
        *({"a": "{{"}, {"a": "{{ $.x"}, {"a": "{{ x }}"}, {"a": "{{ $..x }}"}, {"a": "{{ $.x | upper }}"}),
        *({"a": "{{}}"}, {"{{ $.x }}": 1}, {"a": ["x", {"b": "{{ $ }}"}]}),
        {"a": "{{ $" + ".x" * 300 + " }}"},
        {"a": ["{{ $.x }}"] * (MAX_PLACES + 1)},
    ],
)
def test_what_looks_like_a_place_and_is_none_is_refused(template):
    with pytest.raises(InvalidInput) as refused:
        check(template, "arguments")
    assert refused.value.violations[0].where.startswith("arguments")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_what_passes_the_check_can_be_filled_and_without_places_stays_as_it_is(value):
    try:
        has_places = check({"a": value}, "arguments")
    except InvalidInput:
        return
    if not has_places:
        assert fill({"a": value}, {}) == {"a": value}
