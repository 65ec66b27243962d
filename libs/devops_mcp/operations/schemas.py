"""JSON Schemas as briefly as they say the same: a model reads them before its first word."""

from collections.abc import Mapping

from pydantic import JsonValue

from devops_mcp.models.base import JsonObject

_SUBSCHEMAS = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}
)
_LISTS_OF_SUBSCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPS_OF_SUBSCHEMAS = frozenset({"properties", "$defs", "patternProperties"})
_NULL: JsonObject = {"type": "null"}
_ANYTHING = "#/$defs/JsonValue"


def brief(schema: JsonObject, *, of_result: bool = False) -> JsonObject:
    """What pydantic made, without what tells a reader nothing.

    That is: docstrings of models, titles made of field names, the null that stands for a field left out, defaults that say "nothing",
    definitions used once or holding anything, and lengths of texts. Of a result also what is required and whether there may be more: the
    server knows.
    """
    definitions = schema.get("$defs")
    known = definitions if isinstance(definitions, dict) else {}
    shortened = _brief(_undocumented(schema), of_result)
    return _inlined(
        shortened, {name: _brief_any(_undocumented(part), of_result) for name, part in known.items()}
    )


def _undocumented(schema: JsonValue) -> JsonObject:
    """Without the model's docstring, which is written for us."""
    assert isinstance(schema, dict)
    return {keyword: value for keyword, value in schema.items() if keyword not in ("$defs", "description")}


def _brief_any(value: JsonValue, of_result: bool) -> JsonValue:
    return _brief(value, of_result) if isinstance(value, dict) else value


def _brief(schema: JsonObject, of_result: bool) -> JsonObject:
    """One schema and those in it; only at places where a schema stands, never inside a default or an enum."""
    short: JsonObject = {}
    for keyword, value in _without_null(schema).items():
        if _says_nothing(keyword, value, of_result):
            continue
        if keyword in _MAPS_OF_SUBSCHEMAS and isinstance(value, dict):
            short[keyword] = {name: _brief_any(part, of_result) for name, part in value.items()}
        elif keyword in _LISTS_OF_SUBSCHEMAS and isinstance(value, list):
            short[keyword] = [_brief_any(part, of_result) for part in value]
        elif keyword in _SUBSCHEMAS:
            short[keyword] = _brief_any(value, of_result)
        else:
            short[keyword] = value
    return short


def _without_null(schema: JsonObject) -> JsonObject:
    """A field that may be null is one that may be left out."""
    options = schema.get("anyOf")
    if not isinstance(options, list) or _NULL not in options:
        return schema
    rest = [option for option in options if option != _NULL]
    others = {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
    if len(rest) == 1 and isinstance(rest[0], dict):
        return {**rest[0], **others}
    return {"anyOf": rest, **others}


def _says_nothing(keyword: str, value: JsonValue, of_result: bool) -> bool:
    if keyword == "title":
        return isinstance(value, str)
    if keyword == "default":
        return value in (None, "", [], {}) or value is False
    if keyword == "additionalProperties":
        return value in (True, {}, {"$ref": _ANYTHING}) or (of_result and value is False)
    if keyword in ("maxLength", "minLength"):
        return True
    return (
        of_result
        and keyword in ("required", "description", "default", "format")
        and not isinstance(value, dict)
    )


def _inlined(schema: JsonObject, definitions: Mapping[str, JsonValue]) -> JsonObject:
    """With definitions that are referred to once put in their place, and those left that are referred to more often."""
    whole: JsonObject = {**schema, "$defs": dict(definitions)} if definitions else schema
    counts = {name: _count(whole, f"#/$defs/{name}") for name in definitions}
    once = {name for name, count in counts.items() if count == 1 or definitions[name] == {}}
    once -= {name for name in once if _count(definitions[name], f"#/$defs/{name}")}
    put = {f"#/$defs/{name}": definitions[name] for name in once}
    filled = _filled(schema, put)
    assert isinstance(filled, dict)
    left = {
        name: _filled(definitions[name], put) for name, count in counts.items() if count and name not in once
    }
    return {**filled, "$defs": left} if left else filled


def _count(value: JsonValue, reference: str) -> int:
    if isinstance(value, dict):
        return (value.get("$ref") == reference) + sum(_count(part, reference) for part in value.values())
    return sum(_count(part, reference) for part in value) if isinstance(value, list) else 0


def _filled(value: JsonValue, put: Mapping[str, JsonValue]) -> JsonValue:
    if isinstance(value, list):
        return [_filled(part, put) for part in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if isinstance(reference, str) and isinstance(found := put.get(reference), dict):
        beside = {keyword: part for keyword, part in value.items() if keyword != "$ref"}
        return _filled({**found, **beside}, put)
    return {keyword: _filled(part, put) for keyword, part in value.items()}
