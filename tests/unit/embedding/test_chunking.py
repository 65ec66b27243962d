"""Texts cut into passages."""

from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.embedding.chunking import MAX_PASSAGES, split
from devops_mcp.embedding.tokens import count_tokens


def test_a_short_text_is_one_passage():
    assert split("the build failed\n") == ["the build failed"]


def test_a_text_of_white_space_is_none():
    assert split(" \n\t") == []


def test_a_long_text_is_cut_at_a_paragraph():
    first, second = "a" * 700, "b" * 700
    assert split(f"{first}\n\n{second}", overlap=0) == [first, second]


def test_without_paragraphs_it_is_cut_at_words():
    assert all(not passage.endswith("wor") for passage in split("word " * 1_000))


def test_a_text_without_end_is_indexed_up_to_a_bound():
    assert len(split("x" * 1_000_000)) == MAX_PASSAGES


@given(text=st.text(max_size=3_000), max_chars=st.integers(50, 400), overlap=st.integers(0, 20))
def test_passages_are_bounded_and_nothing_is_lost(text: str, max_chars: int, overlap: int):
    passages = split(text, max_chars=max_chars, overlap=overlap)
    assert all(0 < len(passage) <= max_chars for passage in passages)
    position = 0
    for passage in passages:
        found = text.find(passage, max(0, position - overlap - max_chars))
        assert found != -1
        assert text[position:found].strip() == "" or found <= position
        position = max(position, found + len(passage))
    assert text[position:].strip() == ""


@given(st.text(max_size=500), st.text(max_size=500))
def test_the_estimate_of_tokens_grows_with_the_text(one: str, other: str):
    assert count_tokens(one) <= count_tokens(one + other)
    assert (count_tokens(one) == 0) == (one == "")
