import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.models.errors import UpstreamRejected, UpstreamUnavailable
from devops_mcp.resilience.breaker import Breaker, BreakerLimits, BreakerState, CircuitOpen
from support.clock import HandClock

LIMITS = BreakerLimits(window_s=30, min_calls=20, failure_ratio=0.5, open_s=15, probes=3)


def breaker(clock: HandClock) -> Breaker:
    return Breaker("shop", LIMITS, clock)


def succeed(guarded: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with guarded.guard():
            pass


def fail(guarded: Breaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(UpstreamUnavailable, match="down"), guarded.guard():
            raise UpstreamUnavailable("down")


def opened(clock: HandClock) -> Breaker:
    guarded = breaker(clock)
    fail(guarded, 20)
    assert guarded.snapshot().state is BreakerState.OPEN
    return guarded


@pytest.mark.parametrize(("good", "bad", "state"), [(10, 9, "closed"), (11, 10, "closed"), (10, 10, "open")])
def test_it_opens_at_half_of_at_least_twenty_calls(good, bad, state):
    """X01"""
    guarded = breaker(HandClock())

    succeed(guarded, good)
    fail(guarded, bad)

    assert guarded.snapshot().state == state


def test_open_it_refuses_at_once_and_says_when_to_come_back():
    """X01"""
    clock = HandClock()
    guarded = opened(clock)
    clock.advance(5)

    with pytest.raises(CircuitOpen, match="shop failed") as caught, guarded.guard():
        pytest.fail("the call was made")

    assert caught.value.retry_after_s == 10
    assert caught.value.retryable
    assert guarded.snapshot().refused == 1


def test_failures_older_than_the_window_no_longer_count():
    clock = HandClock()
    guarded = breaker(clock)
    fail(guarded, 19)

    clock.advance(LIMITS.window_s)
    fail(guarded, 1)

    snapshot = guarded.snapshot()
    assert (snapshot.state, snapshot.calls) == (BreakerState.CLOSED, 1)


def test_three_good_probes_close_it_with_a_clean_record():
    """X01"""
    clock = HandClock()
    guarded = opened(clock)
    clock.advance(LIMITS.open_s)

    succeed(guarded, 2)
    assert guarded.snapshot().state is BreakerState.HALF_OPEN
    succeed(guarded, 1)

    assert guarded.snapshot().state is BreakerState.CLOSED
    fail(guarded, 19)
    assert guarded.snapshot().state is BreakerState.CLOSED


def test_half_open_lets_three_probes_through_at_once_and_no_fourth():
    """X01"""
    clock = HandClock()
    guarded = opened(clock)
    clock.advance(LIMITS.open_s)

    with guarded.guard(), guarded.guard(), guarded.guard(), pytest.raises(CircuitOpen), guarded.guard():
        pytest.fail("a fourth probe was made")

    assert guarded.snapshot().state is BreakerState.CLOSED


def test_one_bad_probe_opens_it_again_for_the_whole_time():
    clock = HandClock()
    guarded = opened(clock)
    clock.advance(LIMITS.open_s)
    succeed(guarded, 2)
    fail(guarded, 1)

    clock.advance(LIMITS.open_s - 0.1)
    with pytest.raises(CircuitOpen), guarded.guard():
        pytest.fail("the call was made")
    assert guarded.snapshot().opened == 2


def test_a_probe_that_is_cancelled_gives_its_place_back():
    clock = HandClock()
    guarded = opened(clock)
    clock.advance(LIMITS.open_s)
    for _ in range(5):
        with pytest.raises(asyncio.CancelledError), guarded.guard():
            raise asyncio.CancelledError

    succeed(guarded, 3)

    assert guarded.snapshot().state is BreakerState.CLOSED


def test_a_refusal_by_the_system_is_an_answer_not_a_failure():
    guarded = breaker(HandClock())
    for _ in range(40):
        with pytest.raises(UpstreamRejected), guarded.guard():
            raise UpstreamRejected("no such field")

    snapshot = guarded.snapshot()
    assert (snapshot.state, snapshot.calls, snapshot.failures) == (BreakerState.CLOSED, 40, 0)


def test_an_error_of_our_own_says_nothing_about_the_system():
    guarded = breaker(HandClock())
    for _ in range(40):
        with pytest.raises(KeyError), guarded.guard():
            raise KeyError("ours")

    assert guarded.snapshot().calls == 0


def test_a_call_from_before_it_opened_does_not_decide_about_the_probes():
    clock = HandClock()
    guarded = breaker(clock)

    def call_that_ends_late() -> None:
        with guarded.guard():
            fail(guarded, 20)
            clock.advance(LIMITS.open_s)
            succeed(guarded, 1)
            raise UpstreamUnavailable("down")

    with pytest.raises(UpstreamUnavailable):
        call_that_ends_late()

    assert guarded.snapshot().state is BreakerState.HALF_OPEN


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "cancel"]), st.floats(0, 20)), max_size=200))
def test_whatever_happens_it_recovers_once_the_system_does(steps):
    clock = HandClock()
    guarded = breaker(clock)
    for outcome, wait in steps:
        clock.advance(wait)
        try:
            with guarded.guard():
                if outcome == "fail":
                    raise UpstreamUnavailable("down")
                if outcome == "cancel":
                    raise asyncio.CancelledError
        except (UpstreamUnavailable, asyncio.CancelledError):
            pass

    clock.advance(LIMITS.window_s + LIMITS.open_s)
    succeed(guarded, 3)

    assert guarded.snapshot().state is BreakerState.CLOSED
