"""When deliveries are tried again (case W11)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.models.webhooks import EventFilter
from devops_mcp.operations.webhook_schedule import (
    DELAYS,
    DISABLED_AFTER,
    MAX_ASKED,
    asked_for,
    delay_after,
    hold_after,
    reason_to_disable,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
chances = st.floats(0, 1, exclude_max=True)


@given(chances, st.integers(1, len(DELAYS)))
def test_each_wait_is_jittered_by_a_fifth(chance, attempts):
    delay = delay_after(attempts, lambda: chance)
    assert delay is not None
    assert DELAYS[attempts - 1] * 0.79 < delay < DELAYS[attempts - 1] * 1.21


@pytest.mark.parametrize(("chance", "hours"), [(0.0, 18.8), (0.5, 23.6), (0.999, 28.3)])
def test_all_attempts_together_take_about_a_day_and_then_it_is_given_up(chance, hours):
    delays = [delay_after(attempts, lambda: chance) for attempts in range(1, len(DELAYS) + 1)]
    assert sum((d for d in delays if d), timedelta()) / timedelta(hours=1) == pytest.approx(hours, abs=0.2)
    assert delay_after(len(DELAYS) + 1, lambda: chance) is None


@pytest.mark.parametrize(
    ("status", "asked_s", "given_s"),
    [
        (429, 60.0, 60),
        (503, 60.0, 60),
        (500, 60.0, None),
        (429, None, None),
        (429, 0.0, None),
        (None, 60.0, None),
    ],
)
def test_only_who_is_too_busy_may_ask_for_a_wait(status, asked_s, given_s):
    wanted = None if given_s is None else timedelta(seconds=given_s)
    assert asked_for(status, asked_s) == wanted


@given(st.floats(1, 1e9))
def test_no_receiver_gets_a_longer_wait_than_the_cap(asked_s):
    assert asked_for(429, asked_s) <= MAX_ASKED


@given(st.integers(1, 100_000))
def test_an_endpoint_that_keeps_failing_is_left_alone_for_minutes_never_for_longer(failures):
    hold = hold_after(failures)
    assert (hold is None) == (failures < 5)
    assert hold is None or timedelta(seconds=10) <= hold <= timedelta(minutes=5)


def test_gone_disables_at_once_and_failure_after_a_day():
    just_before, just_after = NOW - DISABLED_AFTER + timedelta(seconds=1), NOW - DISABLED_AFTER
    assert reason_to_disable(410, NOW, NOW) == "the receiver answered 410 Gone"
    assert reason_to_disable(500, just_before, NOW) is None
    assert reason_to_disable(None, just_after, NOW) == "nothing got through since 2026-10-31 12:00 UTC"


@pytest.mark.parametrize(
    ("chosen", "matches"),
    [
        (EventFilter(), True),
        (EventFilter(types=("build.*",)), True),
        (EventFilter(types=("change.*", "build.finished"), subjects=("acme/*",)), True),
        (EventFilter(types=("build.started",)), False),
        (EventFilter(sources=("github-eu",)), False),
        (EventFilter(types=("build.*",), subjects=("ACME/*",)), False),
    ],
)
def test_a_filter_takes_what_fits_each_of_its_parts(chosen, matches):
    assert chosen.matches(type_="build.finished", source="github", subject="acme/shop") is matches
