"""What becomes of a message whose handler failed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from devops_mcp.events.messages import MESSAGE
from devops_mcp.models.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    PlatformError,
    PoisonMessage,
    Unavailable,
)
from devops_mcp.resilience.backoff import Backoff
from worker.disposition import Bury, Retry, dispose, reason_of

LATEST = Backoff(first_s=2.0, cap_s=60.0, random=lambda: 0.999)


def decide(error: Exception, attempt: int = 1) -> Retry | Bury:
    return dispose(error, attempt=attempt, max_attempts=5, backoff=LATEST)


@pytest.mark.parametrize("error", [PoisonMessage("no such event"), InvalidInput("wrong"), NotFound("gone")])
def test_what_can_never_succeed_is_buried_at_once_with_its_reason(error):
    """D12"""
    assert decide(error) == Bury(f"{error.code}: {error.message}")


@pytest.mark.parametrize("error", [DeadlineExceeded("too slow"), RuntimeError("a bug")])
def test_what_may_succeed_is_tried_until_the_limit(error):
    """D12"""
    decided = [decide(error, attempt) for attempt in range(1, 6)]
    assert [d.delay_s for d in decided if isinstance(d, Retry)] == [2, 4, 8, 16]
    assert isinstance(decided[-1], Bury)


def test_an_outage_of_our_own_parts_buries_nothing():
    assert isinstance(decide(Unavailable("the database cannot be reached"), attempt=50), Retry)


def test_a_time_that_was_asked_for_is_waited():
    assert decide(Unavailable("later", retry_after_s=90)) == Retry(90, "unavailable: later")


@given(attempt=st.integers(1, 10_000), random=st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_within_what_a_queue_takes(attempt, random):
    backoff = Backoff(first_s=2.0, cap_s=300.0, random=lambda: random)
    decided = dispose(Unavailable("x"), attempt=attempt, max_attempts=5, backoff=backoff)
    assert isinstance(decided, Retry)
    assert 0 <= decided.delay_s <= 300


def test_a_reason_shows_neither_an_input_nor_a_librarys_text():
    """K01"""
    canary = "canary-3f1c"
    with pytest.raises(ValidationError) as caught:
        MESSAGE.validate_json(f'{{"type": "event.received", "id": "{canary}", "password": "{canary}"}}')
    reasons = [reason_of(caught.value), reason_of(RuntimeError(canary)), reason_of(PlatformError("plain"))]
    assert "event.received.id" in reasons[0]
    assert reasons[1:] == ["RuntimeError", "internal: plain"]
    assert not any(canary in reason for reason in reasons)
