import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devops_mcp.adapters.prometheus.series import (
    BARS,
    WIDTH,
    Grid,
    number,
    own_labels,
    shared_labels,
    sparkline,
    summarise,
)
from devops_mcp.models.errors import UpstreamInvalid

finite = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False))
values = st.lists(st.one_of(st.none(), finite, st.sampled_from(["NaN", "+Inf", "-Inf"])), max_size=300)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e+00", 1),
        ("0.5", 0.5),
        ("-0", 0),
        ("NaN", "NaN"),
        ("+Inf", "+Inf"),
        ("-Inf", "-Inf"),
        ("18446744073709552000", 1.8446744073709552e19),
    ],
)
def test_a_value_becomes_a_number_or_stays_a_word(text, value):
    assert number(text) == value
    assert type(number(text)) is type(value)


@given(st.floats())
def test_every_value_survives_as_json(value):
    shown = json.loads(json.dumps(number(repr(value)), allow_nan=False))

    assert isinstance(shown, str) if not math.isfinite(value) else float(shown) == value


@pytest.mark.parametrize("text", ["", "one", None, "1,5"])
def test_what_is_no_value_is_the_systems_fault(text):
    with pytest.raises(UpstreamInvalid, match="where a number belongs"):
        number(text)


def test_samples_are_placed_on_their_steps_and_gaps_stay_empty():
    grid = Grid.of(100, 160, 15)

    assert grid.steps == 5
    assert grid.place([(100, 1), (130.0, 2), (160, "NaN")]) == [1, None, 2, None, "NaN"]


def test_a_sample_from_outside_of_the_range_is_the_systems_fault():
    with pytest.raises(UpstreamInvalid, match="outside of the range"):
        Grid.of(100, 160, 15).place([(300, 1)])


@given(
    st.integers(0, 4_000_000_000_000),
    st.integers(1, 86_400_000),
    st.integers(0, 500),
    st.sets(st.integers(0, 500)),
)
def test_every_sample_on_the_grid_finds_its_own_place(start_ms, step_ms, last, present):
    grid = Grid(start_ms, start_ms + last * step_ms, step_ms)
    indexes = sorted(index for index in present if index <= last)

    placed = grid.place([((start_ms + index * step_ms) / 1000, index) for index in indexes])

    assert len(placed) == last + 1
    assert [index for index, value in enumerate(placed) if value is not None] == indexes
    assert all(value in (None, index) for index, value in enumerate(placed))


@given(values)
@example([1.0] * (WIDTH + 1))
def test_a_sparkline_is_narrow_and_says_what_each_stretch_is(series):
    line = sparkline(series)

    assert len(line) == min(len(series), WIDTH)
    assert set(line) <= set(BARS) | {" ", "?"}
    if all(value is None for value in series):
        assert set(line) <= {" "}
    if any(isinstance(value, int | float) for value in series):
        assert set(line) & set(BARS)


@given(st.lists(finite, min_size=1, max_size=WIDTH))
def test_a_higher_value_never_has_a_lower_bar(series):
    line = sparkline(series)

    heights = sorted(zip(series, (BARS.index(bar) for bar in line), strict=True))
    assert [height for _, height in heights] == sorted(height for _, height in heights)


def test_a_spike_shorter_than_a_column_is_still_seen():
    series = [0.0] * 400
    series[203] = 9.0

    assert sparkline(series).count("█") == 1


def test_a_sparkline_in_full():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == BARS
    assert sparkline([5, 5, None, "NaN", 5]) == "▄▄ ?▄"
    assert sparkline([]) == ""


@given(st.lists(finite, min_size=1, max_size=300))
def test_the_average_lies_between_the_extremes(series):
    summary = summarise(series, list(enumerate(series)))

    assert summary.min == min(series)
    assert summary.max == max(series)
    scale = max(abs(summary.min), abs(summary.max))
    assert summary.min - 1e-9 * scale <= summary.avg <= summary.max + 1e-9 * scale


def test_a_summary_says_what_is_missing_and_what_is_not_a_number():
    grid = Grid.of(0, 50, 10)
    samples = [(0.0, 1), (10.0, "NaN"), (20.0, 4), (40.0, "+Inf")]

    summary = summarise(grid.place(samples), samples)

    assert (summary.min, summary.max, summary.avg) == (1, 4, 2.5)
    assert (summary.samples, summary.missing, summary.not_finite) == (4, 2, 2)
    assert (summary.last, summary.last_at, summary.ended) == ("+Inf", "1970-01-01T00:00:40Z", True)


def test_a_series_of_nothing_but_nan_has_no_extremes():
    summary = summarise(["NaN", "NaN"], [(0.0, "NaN"), (1.0, "NaN")])

    assert (summary.min, summary.max, summary.avg, summary.last) == (None, None, None, "NaN")
    assert (summary.not_finite, summary.ended, summary.sparkline) == (2, None, "??")


def test_labels_that_all_series_share_are_said_once():
    series = [{"job": "shop", "pod": "a", "zone": "x"}, {"job": "shop", "pod": "b"}]
    shared = shared_labels(series)

    assert shared == {"job": "shop"}
    assert [own_labels(labels, shared) for labels in series] == [{"pod": "a", "zone": "x"}, {"pod": "b"}]


def test_one_series_keeps_its_labels():
    assert shared_labels([{"job": "shop"}]) == {}


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")), min_size=2, max_size=6))
def test_shared_and_own_labels_together_are_the_labels(series):
    shared = shared_labels(series)

    for labels in series:
        assert own_labels(labels, shared) | shared == labels
