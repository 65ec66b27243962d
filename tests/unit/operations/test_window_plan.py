"""Which items go into a window, for contexts of every shape."""

from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.models.windows import Why
from devops_mcp.operations.window_plan import Candidates, plan
from devops_mcp.operations.windows import shortened
from devops_mcp.repositories.context_windows import Mark


def mark(position: int, tokens: int = 10, **more) -> Mark:
    return Mark(
        position,
        tokens,
        more.get("system", False),
        more.get("pinned", False),
        *more.get("covers", (None, None)),
    )


@st.composite
def contexts(draw) -> list[Mark]:
    marks = []
    for position in range(1, draw(st.integers(0, 40)) + 1):
        covers = None
        if position > 2 and draw(st.integers(0, 9)) == 0:
            first = draw(st.integers(1, position - 1))
            covers = (first, draw(st.integers(first, position - 1)))
        tokens = draw(st.one_of(st.integers(1, 60), st.integers(60, 2_000)))
        flags = {name: draw(st.integers(0, 9)) == 0 for name in ("system", "pinned")}
        marks.append(mark(position, tokens, covers=covers or (None, None), **flags))
    return marks


def candidates_of(marks: list[Mark], relevant: list[int]) -> Candidates:
    found = [marks[i] for i in relevant if i < len(marks) and marks[i].covers_to is None]
    return Candidates(
        anchors=[m for m in marks if m.system or m.pinned],
        recent=marks[::-1],
        summaries=sorted(
            (m for m in marks if m.covers_to), key=lambda m: (-(m.covers_to or 0), m.covers_from)
        ),
        relevant=found,
        passage_tokens={m.position: min(m.tokens, 300) for m in found},
    )


@given(contexts(), st.integers(1, 5_000), st.lists(st.integers(0, 39), unique=True))
def test_a_window_keeps_its_budget_and_its_order_and_shows_nothing_twice(marks, budget, relevant):
    choices = plan(budget, candidates_of(marks, relevant))
    positions = [choice.mark.position for choice in choices]
    assert sum(choice.room for choice in choices) <= budget
    assert len(set(positions)) == len(positions)
    assert all(0 < choice.room <= choice.mark.tokens for choice in choices)
    places = [c.mark.covers_from if c.why is Why.SUMMARY else c.mark.position for c in choices]
    assert places == sorted(places)


@given(contexts(), st.integers(1, 5_000), st.lists(st.integers(0, 39), unique=True))
def test_the_latest_are_shown_without_a_gap(marks, budget, relevant):
    choices = plan(budget, candidates_of(marks, relevant))
    shown = {choice.mark.position for choice in choices}
    recent = [choice.mark.position for choice in choices if choice.why is Why.RECENT]
    plain = [m.position for m in marks if m.covers_to is None]
    assert set(plain[plain.index(recent[0]) :]) <= shown if recent else True


@given(contexts(), st.lists(st.integers(0, 39), unique=True))
def test_where_there_is_room_for_everything_every_item_is_shown_whole(marks, relevant):
    choices = plan(sum(m.tokens for m in marks) * 10 + 1, candidates_of(marks, relevant))
    assert {m.position for m in marks if m.covers_to is None} <= {c.mark.position for c in choices}
    assert not any(choice.shortened for choice in choices)
    assert all(choice.why is not Why.SUMMARY for choice in choices), "nothing is left to stand for"


def test_what_is_older_than_the_latest_is_stood_for_by_its_summary():
    marks = [mark(n) for n in range(1, 101)] + [mark(101, 30, covers=(1, 60)), mark(102)]
    choices = plan(300, candidates_of(marks, []))
    assert (choices[0].mark.position, choices[0].why) == (101, Why.SUMMARY)
    assert {c.why for c in choices[1:]} == {Why.RECENT}
    assert sum(choice.room for choice in choices) == 300


def test_a_summary_within_a_wider_one_is_left_out():
    marks = [mark(n) for n in range(1, 101)]
    marks += [mark(101, covers=(1, 20)), mark(102, covers=(21, 60)), mark(103, covers=(1, 60)), mark(104)]
    chosen = plan(300, candidates_of(marks, []))
    assert [choice.mark.position for choice in chosen if choice.why is Why.SUMMARY] == [103]


def test_what_the_query_finds_comes_before_the_latest_goes_on():
    marks = [mark(n) for n in range(1, 101)]
    choices = plan(200, candidates_of(marks, [4, 7]))
    assert [(c.mark.position, c.why) for c in choices[:2]] == [(5, Why.RELEVANT), (8, Why.RELEVANT)]
    assert {choice.mark.position for choice in choices[2:]} == set(range(83, 101))


def test_of_a_long_item_that_is_found_the_passage_is_shown():
    marks = [mark(1, 50_000), *(mark(n) for n in range(2, 100))]
    [first, *_] = plan(1_000, candidates_of(marks, [0]))
    assert (first.mark.position, first.room, first.shortened) == (1, 300, True)


def test_the_very_last_item_is_shortened_rather_than_left_out():
    [only] = plan(500, candidates_of([mark(1), mark(2, 9_000)], []))
    assert (only.mark.position, only.room) == (2, 500)


@given(st.text(), st.integers(10, 300))
def test_a_shortened_text_fits(text, tokens):
    part = shortened(text, tokens)
    assert count_tokens(part) <= tokens
    assert part or not text or count_tokens(text) > tokens
