"""What a kept result is found by."""

from devops_mcp.operations.result_indexing import MAX_TEXT, result_text


def test_values_are_said_with_their_names_and_objects_of_a_list_are_paragraphs():
    value = {
        "total": 2,
        "items": [{"name": "a", "ok": True, "tags": ["x", "y"]}, {"name": "b", "note": ""}],
        "none": None,
    }
    assert result_text(value) == "total: 2\n\nname: a\ntags: x\ntags: y\n\nname: b"


def test_of_a_long_text_the_beginning_is_said():
    text = result_text({"log": "x" * (MAX_TEXT + 1)})
    assert (len(text), text[:6]) == (MAX_TEXT, "log: x")
