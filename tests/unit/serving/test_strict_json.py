import json
import math

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devops_mcp.models.errors import MalformedInput
from devops_mcp.serving.strict_json import _depth_in, _depth_of, loads

texts = st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["a:b", '":', "\\u0000", "\\u003a", "0" * 30, '{"a":1,"a":2}']),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(texts | st.sampled_from(["a:b", '"a":', "1" * 25]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_valid_json_comes_back_as_it_was(value: object, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()

    assert loads(raw) == value


FAULTS = {
    "NaN": b"NaN",
    "NaN inside": b'{"a": NaN}',
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "1e999": b'{"a": 1e999}',
    "NUL in a value": b'{"a": "x\\u0000y"}',
    "NUL in a key": b'{"a\\u0000": 1}',
    "raw NUL": b'"\x00"',
    "lone high surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\udc00"',
    "surrogates swapped": b'"\\udc00\\ud800"',
    "invalid UTF-8": b'"\xff"',
    "surrogate as UTF-8": b'"\xed\xa0\x80"',
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without BOM": '{"a": 1}'.encode("utf-16-le"),
    "repeated key": b'{"a": 1, "a": 2}',
    "repeated key, equal values": b'{"a":1,"a":1}',
    "repeated key, spelled otherwise": b'{"a":1,"\\u0061":2}',
    "repeated key, deep": b'{"x": [{"y": {"a": 1, "b": 2, "a": 3}}]}',
    "repeated key, colon in disguise": b'{"a":"x","a":"\\u003a"}',
    "repeated empty key": b'{"":1,"":2}',
    "repeated key that hides an object": b'{"a":{"b":1,"c":"::"},"a":":::::"}',
    "5,000-digit integer": b"9" * 5_000,
    "309-digit integer": b"1" + b"0" * 309,
    "20-digit integer": b"[18446744073709551616]",
    "negative 20-digit integer": b'{"a": -9223372036854775809}',
    "nested 65 deep": b"[" * 65 + b"]" * 65,
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "nested 100,000 deep, never closed": b'{"a":' * 100_000,
    "empty": b"",
    "two values": b"{} {}",
    "comment": b"{} // x",
    "trailing comma": b"[1,]",
    "single quotes": b"{'a': 1}",
}


@pytest.mark.parametrize("raw", FAULTS.values(), ids=FAULTS.keys())
def test_what_parsers_repair_is_refused(raw: bytes) -> None:
    """H05"""
    with pytest.raises(MalformedInput):
        loads(raw)


def test_the_message_names_the_repeated_key() -> None:
    with pytest.raises(MalformedInput, match="repeats the key 'tenant'"):
        loads(b'{"tenant": "a", "x": 1, "tenant": "b"}')


def test_a_wide_document_is_measured_as_a_narrow_one() -> None:
    """H05: in a text brackets are none, whatever stands before its quotes."""
    row = rb'["[[[", "\\", "\"]{", {"a\\\"[": []}],'
    wide = b"[" + row * 6_000
    for depth, fits in ((63, True), (64, False)):
        raw = wide + b"[" * depth + b"]" * depth + b"]"
        if fits:
            assert len(loads(raw)) == 6_001  # type: ignore[arg-type]
        else:
            with pytest.raises(MalformedInput):
                loads(raw)


@given(values)
def test_both_ways_to_measure_a_document_agree(value: object) -> None:
    assert _depth_of(json.dumps(value).encode()) == _depth_in(value, 64)


@pytest.mark.parametrize("depth", [1, 63, 64])
def test_nesting_up_to_the_limit_passes(depth: int) -> None:
    raw = b'{"a":' * depth + b"1" + b"}" * depth

    assert loads(raw) == json.loads(raw)


@given(st.lists(st.tuples(texts, values), min_size=1, max_size=4), st.data())
def test_a_repeated_key_never_passes_whatever_its_values_hold(
    pairs: list[tuple[str, object]], data: st.DataObject
) -> None:
    """H05"""
    key, _ = data.draw(st.sampled_from(pairs))
    members = [*pairs, (key, data.draw(values))]
    space = data.draw(st.sampled_from(["", " ", "\n\t"]))
    ascii_only = data.draw(st.booleans())
    raw = (
        "{"
        + ",".join(f"{json.dumps(k, ensure_ascii=ascii_only)}{space}:{json.dumps(v)}" for k, v in members)
        + "}"
    )

    with pytest.raises(MalformedInput):
        loads(raw.encode())


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b'"\\u0000"')
def test_any_bytes_are_a_value_or_malformed_and_nothing_else(raw: bytes) -> None:
    """H05"""
    try:
        value = loads(raw)
    except MalformedInput:
        return
    assert value == orjson.loads(raw)


@given(st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_passes_is_exact(value: float) -> None:
    parsed = loads(json.dumps(value).encode())

    assert parsed == value
    assert not isinstance(parsed, float) or math.isfinite(parsed)
