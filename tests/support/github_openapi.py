"""GitHub's own description of its API (npm @octokit/openapi), to validate answers against.

OpenAPI 3.0 is JSON Schema but for `nullable`, which is translated; `$ref` works as it stands.
"""

from copy import deepcopy
from functools import cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from support.node import package

_URI = "urn:github"


@cache
def description() -> dict[str, Any]:
    """The description of api.github.com, with `nullable` as JSON Schema says it."""
    path = package("@octokit/openapi") / "generated" / "api.github.com.json"
    found: dict[str, Any] = _json_schema(orjson.loads(path.read_bytes()))
    # The payload of a `PublicEvent` has no members, so that every other one is one of these too: its own examples fit no `oneOf`.
    event = found["components"]["schemas"]["event"]["properties"]
    event["payload"] = {"anyOf": event["payload"]["oneOf"]}
    return found


def validate_answer(method: str, template: str, status: int, body: Any) -> None:
    """Assert that `body` is what GitHub documents for `method template` (`/repos/{owner}/{repo}/…`) with `status`.

    A refusal or a move that is not documented there must at least carry GitHub's basic error.
    """
    responses = description()["paths"][template][method.lower()]["responses"]
    response = responses.get(str(status))
    if response is None:
        assert status >= 400 or status == 301, f"{method} {template} documents no {status}"
        return _validate({"$ref": f"{_URI}#/components/schemas/basic-error"}, body)
    if "$ref" in response:
        response = description()["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    content = response.get("content", {}).get("application/json")
    if content is None:
        assert not body, f"{method} {template} answers {status} without a body"
        return None
    return _validate(content["schema"], body)


def webhook_actions() -> set[str]:
    """Every documented webhook event, alone and with each of its actions: `star`, `star created`."""
    found = set()
    for entry in description()["x-webhooks"].values():
        operation = entry["post"]
        event = operation["x-github"]["subcategory"]
        found.add(event)
        for variant in _variants(operation):
            actions = variant.get("properties", {}).get("action", {}).get("enum", [])
            found |= {f"{event} {action}" for action in actions}
    return found


def webhook_required(event: str) -> list[set[str]]:
    """For each documented action of a webhook event, the keys that its body always has."""
    found = []
    for entry in description()["x-webhooks"].values():
        operation = entry["post"]
        if operation["x-github"]["subcategory"] != event:
            continue
        found.append(set.intersection(*(set(v.get("required", ())) for v in _variants(operation))))
    return found


def _variants(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The forms that a webhook's body may have."""
    schema = _resolved(operation["requestBody"]["content"]["application/json"]["schema"])
    return [_resolved(variant) for variant in schema.get("oneOf", [schema])]


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return (
        description()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        if "$ref" in schema
        else schema
    )


def _validate(schema: dict[str, Any], body: Any) -> None:
    errors = sorted(_validator(orjson.dumps(_absolute(schema))).iter_errors(body), key=lambda e: len(e.path))
    assert not errors, f"{'/'.join(map(str, errors[0].path))}: {errors[0].message[:300]}"


@cache
def _validator(schema: bytes) -> Draft202012Validator:
    return Draft202012Validator(orjson.loads(schema), registry=_registry())


@cache
def _registry() -> Registry:
    return Registry().with_resource(_URI, Resource(contents=description(), specification=DRAFT202012))


def _absolute(schema: Any) -> Any:
    """References out of a schema that stands alone must name the document."""
    if isinstance(schema, dict):
        return {
            key: f"{_URI}{value}"
            if key == "$ref" and isinstance(value, str) and value[0] == "#"
            else _absolute(value)
            for key, value in schema.items()
        }
    return [_absolute(part) for part in schema] if isinstance(schema, list) else schema


def _json_schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_json_schema(part) for part in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _json_schema(value) for key, value in node.items()}
    if plain.pop("nullable", None) is not True:
        return plain
    if isinstance(plain.get("type"), str) and "enum" not in plain:
        return plain | {"type": [plain["type"], "null"]}
    return {"anyOf": [plain, {"type": "null"}]}


def documented_example(method: str, template: str, status: int) -> Any:
    """A copy of the answer that GitHub's description gives as its example."""
    response = description()["paths"][template][method.lower()]["responses"][str(status)]
    example = next(iter(response["content"]["application/json"]["examples"].values()))
    if "$ref" in example:
        example = description()["components"]["examples"][example["$ref"].rsplit("/", 1)[1]]
    return deepcopy(example["value"])
