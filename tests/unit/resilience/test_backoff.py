import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.resilience.backoff import Backoff

seconds = st.floats(min_value=0.001, max_value=1e6)
attempts = st.integers(min_value=1, max_value=100_000)
chance = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(
    first=seconds, cap=seconds, factor=st.floats(min_value=1, max_value=1e6), attempt=attempts, drawn=chance
)
def test_a_wait_is_never_negative_and_never_above_its_ceiling_or_the_cap(first, cap, factor, attempt, drawn):
    first, cap = min(first, cap), max(first, cap)
    backoff = Backoff(first_s=first, factor=factor, cap_s=cap, random=lambda: drawn)

    wait = backoff.delay_s(attempt)

    assert 0 <= wait <= backoff.ceiling_s(attempt) <= cap


@given(attempt=st.integers(min_value=1, max_value=2_000), factor=st.floats(min_value=1, max_value=100))
def test_the_ceiling_never_shrinks_from_one_attempt_to_the_next(attempt, factor):
    backoff = Backoff(first_s=0.1, factor=factor, cap_s=60)

    assert backoff.ceiling_s(attempt) <= backoff.ceiling_s(attempt + 1)


def test_the_ceiling_doubles_until_the_cap():
    backoff = Backoff(first_s=0.5, factor=2, cap_s=3)

    assert [backoff.ceiling_s(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 3.0]


def test_full_jitter_reaches_down_to_no_wait_at_all():
    assert Backoff(random=lambda: 0.0).delay_s(5) == 0.0


@pytest.mark.parametrize("wrong", [{"first_s": 0}, {"first_s": 5, "cap_s": 1}, {"factor": 0.5}])
def test_a_backoff_that_cannot_wait_is_refused(wrong):
    with pytest.raises(ValueError, match="backoff needs"):
        Backoff(**wrong)
