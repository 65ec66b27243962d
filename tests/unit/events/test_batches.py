"""Entries are cut into requests that every SQS takes."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.events.batches import BATCH, Entry, size_of, split

TEXTS = st.text(alphabet="aü\U0001f600", max_size=40)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    attributes = draw(st.dictionaries(st.sampled_from(["a", "trace"]), TEXTS))
    structures = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()}
    return {"Id": "0", "MessageBody": draw(TEXTS), "MessageAttributes": structures}


@given(st.lists(entries(), max_size=60), st.integers(1, 400))
def test_requests_hold_every_entry_once_in_order_within_both_limits(batch: list[Entry], max_bytes: int):
    requests = list(split(batch, max_bytes=max_bytes))

    assert [entry for request in requests for entry in request] == batch
    for request in requests:
        assert 1 <= len(request) <= BATCH
        assert len(request) == 1 or sum(size_of(entry) for entry in request) <= max_bytes


@given(st.lists(entries(), min_size=2, max_size=60), st.integers(1, 400))
def test_no_two_requests_that_follow_each_other_would_have_fit_into_one(batch: list[Entry], max_bytes: int):
    requests = list(split(batch, max_bytes=max_bytes))

    for one, next_ in pairwise(requests):
        joined = [*one, next_[0]]
        assert len(joined) > BATCH or sum(size_of(entry) for entry in joined) > max_bytes


def test_a_size_counts_bytes_of_body_and_of_attributes_names_types_and_values():
    entry = {
        "Id": "ignored",
        "MessageBody": "ü",
        "MessageAttributes": {"name": {"DataType": "String", "StringValue": "\U0001f600"}},
    }

    assert size_of(entry) == 2 + len("nameString") + 4
    assert size_of({"Id": "1", "ReceiptHandle": "x"}) == 0
