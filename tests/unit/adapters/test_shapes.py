"""Reading a vendor's JSON into our shapes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasPath, Field

from devops_mcp.adapters.shapes import Excerpt, FirstLine, Shape, Text, excerpt, first_line, read, read_all
from devops_mcp.models.errors import UpstreamInvalid


class Ticket(Shape):
    number: int
    by: str | None = Field(default=None, validation_alias=AliasPath("user", "login"))
    body: Text = ""
    short: Excerpt = Field(default="", validation_alias="body")
    subject: FirstLine = Field(default="", validation_alias="message")


def test_only_what_is_named_is_taken_from_where_the_vendor_keeps_it() -> None:
    ticket = read(
        Ticket,
        {
            "number": 1,
            "user": {"login": "octocat"},
            "body": "a\n b",
            "message": "\n one\ntwo",
            "x": 1,
            "by": {},
        },
    )

    assert ticket.model_dump() == {
        "number": 1,
        "by": "octocat",
        "body": "a\n b",
        "short": "a b",
        "subject": "one",
    }
    assert Ticket.model_validate(ticket.model_dump()) == ticket


@pytest.mark.parametrize("user", [None, {}, {"login": None}, "octocat"])
def test_what_is_missing_on_the_way_is_none(user: object) -> None:
    assert read(Ticket, {"number": 1, "user": user, "body": None}) == Ticket(number=1)


def test_what_does_not_fit_is_the_systems_fault_and_names_the_field() -> None:
    with pytest.raises(UpstreamInvalid, match="Ticket does not fit: number"):
        read(Ticket, {"number": "many", "secret": "canary"})
    with pytest.raises(UpstreamInvalid, match="not a list of Ticket"):
        read_all(Ticket, {"message": "no list"})
    with pytest.raises(UpstreamInvalid, match="Ticket"):
        read_all(Ticket, ["number"])


@given(st.text())
def test_a_first_line_is_one_printable_line(text: str) -> None:
    line = first_line(text, 20)

    assert len(line) <= 20
    assert line == "" or line.isprintable()


def test_control_codes_do_not_survive_in_a_line() -> None:
    """L01: newlines, colours and NUL."""
    assert first_line("\x00\r\n\x1b[31mred\x1b[0m \u202eback\nnext") == "[31mred[0m back"


def test_an_excerpt_says_how_much_was_cut() -> None:
    assert excerpt("a  b\nc") == "a b c"
    assert excerpt("x" * 310) == "x" * 300 + "… (10 more characters)"
