import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.models.errors import Conflict, PlatformError, UpstreamRateLimited, UpstreamUnavailable
from devops_mcp.resilience.backoff import Backoff
from devops_mcp.resilience.deadline import Deadline
from devops_mcp.resilience.retry import Retry, RetryBudget
from support.clock import HandClock


class Failing:
    """Raises the errors given, one a call, then answers."""

    def __init__(self, *errors: PlatformError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def policy(clock: HandClock, **changes) -> Retry:
    return Retry(
        **({"backoff": Backoff(first_s=1, cap_s=8, random=lambda: 0.5), "sleep": clock.sleep} | changes)
    )


async def test_a_retryable_failure_is_tried_again_after_a_growing_wait():
    clock = HandClock()
    run = Failing(UpstreamUnavailable("down"), UpstreamUnavailable("down"))

    assert await policy(clock).call(run, Deadline.after(60, clock)) == "answer"

    assert clock.slept == [0.5, 1.0]


async def test_the_last_error_is_raised_when_the_attempts_are_used_up():
    clock = HandClock()
    run = Failing(*(UpstreamUnavailable(f"down {n}") for n in range(9)))

    with pytest.raises(UpstreamUnavailable, match="down 2"):
        await policy(clock, attempts=3).call(run, Deadline.after(60, clock))

    assert run.calls == 3


async def test_what_will_not_change_is_not_tried_again():
    clock = HandClock()
    run = Failing(Conflict("taken"))

    with pytest.raises(Conflict):
        await policy(clock).call(run, Deadline.after(60, clock))

    assert (run.calls, clock.slept) == (1, [])


async def test_the_wait_that_the_system_asks_for_is_kept():
    clock = HandClock()

    await policy(clock).call(
        Failing(UpstreamRateLimited("slow", retry_after_s=4.0)), Deadline.after(60, clock)
    )

    assert clock.slept == [4.0]


async def test_a_wait_above_the_cap_is_left_to_the_caller():
    clock = HandClock()
    run = Failing(UpstreamRateLimited("slow", retry_after_s=30.0))

    with pytest.raises(UpstreamRateLimited) as caught:
        await policy(clock, max_wait_s=5.0).call(run, Deadline.after(60, clock))

    assert (caught.value.retry_after_s, run.calls, clock.slept) == (30.0, 1, [])


async def test_no_attempt_is_waited_for_that_the_deadline_leaves_no_time_for():
    clock = HandClock()
    run = Failing(UpstreamRateLimited("slow", retry_after_s=2.0))

    with pytest.raises(UpstreamRateLimited):
        await policy(clock).call(run, Deadline.after(2.0, clock))

    assert (run.calls, clock.slept) == (1, [])


async def test_an_outage_is_not_multiplied_beyond_the_budget():
    clock = HandClock()
    retry = policy(clock, attempts=5, budget=RetryBudget(ratio=0.1, burst=4))
    calls = 0
    for _ in range(100):
        run = Failing(*(UpstreamUnavailable("down") for _ in range(9)))
        with pytest.raises(UpstreamUnavailable):
            await retry.call(run, Deadline.after(600, clock))
        calls += run.calls

    assert 100 < calls <= 100 + 4 + 100 * 0.1
    snapshot = retry.snapshot()
    assert (snapshot.calls, snapshot.retries) == (100, calls - 100)
    assert snapshot.refused_by_budget > 0


@given(st.lists(st.booleans(), max_size=300), st.floats(min_value=0, max_value=1), st.integers(0, 20))
def test_retries_never_exceed_their_share_of_calls_and_the_reserve(steps, ratio, burst):
    budget = RetryBudget(ratio=ratio, burst=burst)
    for is_call in steps:
        if is_call:
            budget.earn()
        else:
            budget.spend()

    snapshot = budget.snapshot()
    assert 0 <= snapshot.tokens <= burst
    assert snapshot.retries <= burst + ratio * snapshot.calls + 1e-6
