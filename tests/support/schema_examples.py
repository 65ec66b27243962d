"""The smallest value that a JSON Schema takes, for requests that are made from the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

_BY_FORMAT = {
    "uuid": "00000000-0000-7000-8000-00000000abcd",
    "date-time": "2099-01-01T00:00:00Z",
    "password": "correct horse battery staple",
}


def example(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """Required members only; where a pattern has to be met, whoever asks gives the value instead."""
    if "$ref" in schema:
        return example(_referred(schema["$ref"], document), document)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example(schema[key][0], document)
    return _of_type(schema, document)


def _of_type(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: example(properties[name], document) for name in schema.get("required", ())}
        case "array":
            return [example(schema.get("items", {}), document) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return False
        case "null":
            return None
    return _BY_FORMAT.get(schema.get("format", ""), "x" * max(1, schema.get("minLength", 1)))


def _referred(reference: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found
