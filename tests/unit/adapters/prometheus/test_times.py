import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.adapters.prometheus.times import choose_step, parse_duration, parse_time, rfc3339
from devops_mcp.models.errors import InvalidInput

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-20T10:00:00Z"),
        ("-1h", "2026-11-20T09:00:00Z"),
        ("now-1h30m", "2026-11-20T08:30:00Z"),
        ("now - 2d", "2026-11-18T10:00:00Z"),
        ("+5m", "2026-11-20T10:05:00Z"),
        ("-500ms", "2026-11-20T09:59:59.500Z"),
        ("2026-11-19T23:00:00+01:00", "2026-11-19T22:00:00Z"),
        ("2026-11-19T23:00:00.25Z", "2026-11-19T23:00:00.250Z"),
        ("1795215600", "2026-11-20T23:00:00Z"),
        ("1795215600.5", "2026-11-20T23:00:00.500Z"),
        (" now ", "2026-11-20T10:00:00Z"),
    ],
)
def test_a_time_is_absolute_or_a_distance_from_now(text, expected):
    assert rfc3339(parse_time(text, NOW)) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "is not a time"),
        ("", "is not a time"),
        ("-1x", "is not a time"),
        ("2026-11-20T10:00:00", "no time zone"),
        ("2026-11-20", "no time zone"),
        ("1795215600000", "milliseconds"),
        ("-5", "needs a unit"),
        ("NaN", "is not a time"),
        ("1e400", "is not a time"),
        ("9e99", "too far ahead"),
        ("-99y", "before 1970"),
        ("-999999999999y", "is not a duration"),
    ],
)
def test_what_is_no_time_is_refused_with_the_reason(text, why):
    with pytest.raises(InvalidInput, match=why):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15", 15),
        ("0.5", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5_400),
        ("2d", 172_800),
        ("1.5h", 5_400),
        ("250ms", 0.25),
    ],
)
def test_a_duration_is_read_with_its_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-5m", "-5", "5x", "m", "1h 30m", "inf", "nan", "101y", "5m;"]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InvalidInput, match="is not a duration"):
        parse_duration(text)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text):
    with contextlib.suppress(InvalidInput):
        assert 0 <= parse_time(text, NOW) <= 1e11


@given(st.floats(min_value=0, max_value=4e9), st.integers(min_value=2, max_value=11_000))
def test_the_step_keeps_to_the_budget_of_points(span_s, max_points):
    step = choose_step(span_s, max_points)

    assert step >= 1
    assert step == int(step)
    assert span_s // step + 1 <= max_points


@given(st.floats(min_value=0, max_value=86_400 * 365), st.integers(min_value=2, max_value=1_000))
def test_the_step_is_no_coarser_than_the_next_round_number(span_s, max_points):
    step = choose_step(span_s, max_points)

    assert step == 1 or step <= 3 * max(1.0, span_s / (max_points - 1)) or step == 86_400


@given(st.floats(min_value=0, max_value=1e8), st.floats(min_value=0, max_value=1e8), st.integers(2, 1_000))
def test_a_longer_range_never_gets_a_finer_step(one, other, max_points):
    assert choose_step(min(one, other), max_points) <= choose_step(max(one, other), max_points)


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_a_written_time_reads_back_as_itself(milliseconds):
    assert round(parse_time(rfc3339(milliseconds / 1000), NOW) * 1000) == milliseconds
