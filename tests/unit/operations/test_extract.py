"""Summaries without a model."""

from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.operations.extract import MAX_SENTENCES, extract

LOG = """
The deployment of checkout 4.2.1 to production finished at 10:02.
Checkout answers with errors since 10:04, every third request fails.
The dashboard was opened. The dashboard was looked at. The dashboard was closed again.
Checkout fails because the certificate of the payment gateway expired at 10:03.
Somebody made coffee for everybody in the room.
We decided to roll checkout back to 4.2.0 and to renew the certificate.
"""


def test_what_the_text_is_about_is_chosen_over_what_is_said_beside():
    summary = extract(LOG, max_sentences=3)
    assert "certificate" in summary
    assert "coffee" not in summary


def test_sentences_keep_their_order_and_their_words():
    lines = extract(LOG).splitlines()
    places = [LOG.index(line.removeprefix("- ")) for line in lines]
    assert places == sorted(places)


def test_what_is_repeated_is_said_once():
    summary = extract("The disk of node seven is full.\n" * 50 + "The gateway was restarted by hand.")
    assert summary.count("disk of node seven") == 1
    assert "gateway" in summary


@given(st.text(max_size=2_000), st.integers(20, 200))
def test_a_summary_is_the_same_each_time_and_keeps_its_room(text, tokens):
    summary = extract(text, tokens)
    assert summary == extract(text, tokens)
    assert len(summary.splitlines()) <= max(MAX_SENTENCES, len(text.splitlines()) + 1)
    if summary.startswith("- "):
        assert count_tokens(summary) <= tokens + MAX_SENTENCES


def test_a_text_without_sentences_gives_its_beginning():
    assert extract("short") == "short"
    assert extract("") == ""
