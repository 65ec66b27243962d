"""An example of each answer, made of its schema: what is told of a member by its name is what the examples of bodies say of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from rest_api.examples import EXAMPLES

_REF = "#/components/schemas/"
_ID = "01a1ff44-3c91-7535-b73f-480035c8794e"
_MOMENT = "2026-11-21T10:00:00Z"
_SAID: Mapping[str, JsonValue] = {
    "access_token": "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEwMzRoIn0.…",
    "action": "contexts.append",
    "actor": "ci",
    "address": "203.0.113.7",
    "data": {"workflow": "CI", "branch": "main", "conclusion": "failure", "failed": True},
    "effect": "read",
    "expires_in": 600,
    "key": "dm_q1u3g0fiv51q_laeVxhiJ2ilQLI9s4j8",
    "media_type": "text/plain",
    "outcome": "ok",
    "permission": "events:read",
    "predicate": "deployed",
    "prefix": "q1u3g0fiv51q",
    "provider": "local",
    "refresh_token": "dmr_01a1ff443c91_…",
    "risk": "low",
    "scope": "events:read search:read",
    "secret": "whsec_UOJMbcRivzanMsaJMifM0HLGYlsVlkfqrixz563Xy5w=",
    "source": "github-prod",
    "space": "all-MiniLM-L6-v2/int8/384",
    "subject": "acme/shop",
    "target": "github_search",
    "token_type": "Bearer",
    "tool": "github_search",
    "type": "build.finished",
    "uri": "devops://contexts/01a1ff44-3c91-7535-b73f-480035c8794e#1",
    "webhook_path": f"/webhooks/github/{_ID}",
}
_UNTOLD: Mapping[str, JsonValue] = {"string": "…", "integer": 1, "number": 0.5, "boolean": True, "array": []}
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def sample_of(reference: Mapping[str, Any], definitions: Mapping[str, Any]) -> JsonValue:
    """What a schema may look like; what may be null is, unless something is told of it."""
    return _Samples(definitions).of(reference, "", ())


def _members(value: object) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield name, part
            yield from _members(part)
    elif isinstance(value, list):
        for part in value:
            yield from _members(part)


_TOLD: Mapping[str, JsonValue] = {**dict(reversed(list(_members(list(EXAMPLES.values()))))), **_SAID}
"""By the names of members; what is told first counts."""


class _Samples:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def of(self, schema: Mapping[str, Any], name: str, within: tuple[str, ...]) -> JsonValue:
        """`within` are the models that it is a part of: what holds itself is shown once."""
        if (reference := schema.get("$ref")) is not None:
            model = reference.removeprefix(_REF)
            return {} if model in within else self.of(self._definitions[model], name, (*within, model))
        if "const" in schema or "enum" in schema:
            told = _TOLD.get(name)
            choices = schema.get("enum", [schema.get("const")])
            return told if told in choices else choices[0]
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            return self._one_of(alternatives, name, within)
        return self._plain(schema, name, within)

    def _one_of(self, alternatives: list[Any], name: str, within: tuple[str, ...]) -> JsonValue:
        nullable = any(part.get("type") == "null" for part in alternatives)
        if not nullable:
            return self.of(alternatives[0], name, within)
        told = [part for part in alternatives if _fits(_TOLD.get(name), part)]
        return self.of(told[0], name, within) if told else None

    def _plain(self, schema: Mapping[str, Any], name: str, within: tuple[str, ...]) -> JsonValue:
        kind = schema.get("type")
        if kind == "object" and "properties" in schema:
            return {part: self.of(of, part, within) for part, of in schema["properties"].items()}
        if kind == "array" and "items" in schema and not _fits(_TOLD.get(name), schema):
            return [self.of(schema["items"], name.removesuffix("s"), within)]
        if kind == "string" and "format" in schema:
            return _ID if schema["format"] == "uuid" else _TOLD.get(name, _MOMENT)
        if _fits(_TOLD.get(name), schema):
            return _TOLD[name]
        return _UNTOLD.get(str(kind), {})


def _fits(told: JsonValue, schema: Mapping[str, Any]) -> bool:
    """Whether what is told of a name is of the schema's kind, and no model: those are told part by part."""
    kinds = _KINDS.get(str(schema.get("type")), ())
    if told is None or "properties" in schema or type(told) not in kinds:
        return False
    items = schema.get("items", {})
    return not (isinstance(told, list) and ("$ref" in items or not all(_fits(one, items) for one in told)))
