"""Results cut to a reader's room."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from devops_mcp.adapters.base import Listing, ToolResult
from devops_mcp.models.base import Model
from devops_mcp.models.errors import InvalidInput
from devops_mcp.operations.shaping import shape


class Item(Model):
    name: str
    note: str | None = None


class Log(ToolResult):
    job: str
    text: str
    lines: list[str] = Field(default_factory=list)


def listing(count: int, note: str | None = None) -> Listing[Item]:
    return Listing[Item](items=[Item(name=f"item-{i}", note=note) for i in range(count)], total=count)


def test_what_fits_is_shown_whole_without_what_is_empty():
    shaped = shape(listing(2), (), 1_000)
    assert orjson.loads(shaped.shown) == {"items": [{"name": "item-0"}, {"name": "item-1"}], "total": 2}
    assert shaped.whole is None


def test_a_long_list_keeps_its_first_items_and_says_how_many():
    shaped = shape(listing(200), (), 1_000)
    items = orjson.loads(shaped.shown)["items"]
    assert isinstance(items, list)
    assert items[0] == {"name": "item-0"}
    assert shaped.cut == (f"items ({len(items)} of 200 items)",)
    assert shaped.whole is not None
    assert len(orjson.loads(shaped.whole)["items"]) == 200


def test_a_long_text_is_cut_and_the_small_parts_beside_it_stay_whole():
    shaped = shape(Log(job="build", text="x" * 5_000), (), 1_000)
    assert orjson.loads(shaped.shown)["job"] == "build"
    assert str(orjson.loads(shaped.shown)["text"]).endswith("x…")
    assert len(shaped.shown) <= 1_000


def test_one_item_larger_than_the_room_is_itself_cut():
    shaped = shape(Listing[Item](items=[Item(name="a", note="n" * 5_000)]), (), 800)
    assert shaped.cut[0].startswith("items[0].note (")
    assert len(shaped.shown) <= 800


def test_fields_choose_columns_of_items_and_keep_the_frame():
    shaped = shape(listing(2, "long"), ("name",), 1_000)
    assert orjson.loads(shaped.shown) == {"items": [{"name": "item-0"}, {"name": "item-1"}], "total": 2}


def test_an_unknown_field_is_named_with_those_there_are():
    with pytest.raises(InvalidInput, match="no field 'nmae'; there are: name, note"):
        shape(listing(1), ("nmae",), 1_000)


@given(
    texts=st.lists(st.text(max_size=400), max_size=30),
    text=st.text(max_size=3_000),
    room=st.integers(600, 3_000),
)
def test_whatever_is_shown_fits_the_room_or_was_not_cut(texts: list[str], text: str, room: int):
    result = Log(job="j", text=text, lines=texts)
    shaped = shape(result, (), room)
    assert len(shaped.shown) <= room
    if shaped.whole is not None:
        assert orjson.loads(shaped.whole) == result.model_dump(mode="json", exclude_none=True)
        assert shaped.cut
