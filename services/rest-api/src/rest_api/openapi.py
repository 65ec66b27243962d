"""The OpenAPI 3.1 document, made from the table of endpoints."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from inspect import cleandoc
from typing import Any, Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from devops_mcp.models.base import Model
from devops_mcp.models.quotas import QuotaStanding
from devops_mcp.serving.problems import MEDIA_TYPE
from rest_api import alongside, once
from rest_api.endpoint import JSON, LINES, AnyEndpoint, File, NoBody, Nothing, Raw
from rest_api.examples import example_of
from rest_api.guide import GUIDE, TAGS
from rest_api.refusals import codes_by_status
from rest_api.rights import said_of
from rest_api.samples import sample_of
from rest_api.sparse import FIELDS
from rest_api.versions import MERGE_PATCH

_REF = "#/components/schemas/{model}"
_CURSOR = {
    "type": "string",
    "maxLength": 1_000,
    "description": "`next_cursor` of the page before, with the same filters.",
}
_TEXT = {"type": "string"}
_ABOUT = {
    "limit": "How many at most.",
    "sort": "By which field; with `-` before it the other way round.",
    "since": "From this time on.",
    "until": "To before this time.",
}
"""Of parameters that mean the same everywhere."""
_HEADERS = {
    "X-Request-Id": "What the request is called in the logs; the caller's own, where it sent one.",
    "Server-Timing": "How long the answer took, in milliseconds.",
    "RateLimit": "How many more requests the caller may send, and how soon that grows.",
    "RateLimit-Policy": "How many requests the caller may send in how many seconds.",
    "Retry-After": "After how many seconds to ask again.",
    "WWW-Authenticate": "Where tokens come from, and which scopes the request takes.",
    "ETag": "The version of what is answered.",
    "Location": "Where what was made is found.",
    once.REPLAYED: "`true` where this is what the key was answered before.",
}
"""Of answers, and what they say."""
_ON_ERROR = {
    "401": "WWW-Authenticate",
    "403": "WWW-Authenticate",
    "409": "Retry-After",
    "429": "Retry-After",
    "503": "Retry-After",
}
_PATH_PARAMETER = re.compile(r"{(\w+)}")


class ExceededQuota(QuotaStanding):
    """A quota, and whose it is."""

    of: Literal["tenant", "principal"]


class Problem(Model):
    """An error (RFC 9457). `code` is stable; `violations` name each fault of the input, `quota` the one that is used up."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
    request_id: str | None = None
    violations: tuple[dict[str, str], ...] = Field(default=())
    quota: ExceededQuota | None = None


def document(endpoints: Sequence[AnyEndpoint]) -> dict[str, Any]:
    """The document of these endpoints, and of what is served beside them."""
    references, definitions = _schemas(endpoints)
    beside = {model: references[model, "serialization"] for model in alongside.MODELS}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(
            endpoint, references, definitions
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DevOps MCP",
            "version": version("devops-mcp"),
            "description": GUIDE,
        },
        "tags": [{"name": name, "description": said} for name, said in TAGS.items()],
        "security": [{"bearer": []}, {"apiKey": []}, {"basic": []}],
        "paths": {**paths, **alongside.paths(beside, references[Problem, "serialization"])},
        "webhooks": alongside.outgoing(beside),
        "components": {
            "schemas": definitions,
            "headers": {name: {"schema": _TEXT, "description": said} for name, said in _HEADERS.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token, or an API key.",
                },
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "`username` or `tenant/username`, and password; where the operator has switched it on.",
                },
            },
        },
    }


References = dict[tuple[type[BaseModel], JsonSchemaMode], dict[str, Any]]


def _schemas(endpoints: Sequence[AnyEndpoint]) -> tuple[References, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for model in alongside.MODELS:
        wanted[model, "serialization"] = None
    for endpoint in endpoints:
        wanted[endpoint.params, "validation"] = None
        if endpoint.body not in (NoBody, Raw):
            wanted[endpoint.body, "validation"] = None
        if endpoint.reply not in (Nothing, File):
            wanted[endpoint.reply, "serialization"] = None
    references, schema = models_json_schema(list(wanted), ref_template=_REF)
    definitions = schema.get("$defs", {})
    for endpoint in endpoints:
        if endpoint.fields:
            _add_part(references[endpoint.reply, "serialization"]["$ref"], definitions)
        if endpoint.method == "PATCH":
            _add_patch(references[endpoint.body, "validation"]["$ref"], definitions)
    return references, definitions  # type: ignore[return-value]


def _add_part(reference: str, definitions: dict[str, Any]) -> None:
    """Describe what `fields` makes of a model: of a list, its items with some of their fields; of anything else, some of its own."""
    name = reference.rpartition("/")[2]
    if f"{name}Part" in definitions:
        return
    whole = definitions[name]
    item = whole["properties"].get("items", {}).get("items", {}).get("$ref")
    if item is None:
        part = {key: value for key, value in whole.items() if key != "required"} | {"minProperties": 1}
    else:
        _add_part(item, definitions)
        items = {**whole["properties"]["items"], "items": {"$ref": f"{item}Part"}}
        part = {**whole, "properties": {**whole["properties"], "items": items}}
    definitions[f"{name}Part"] = {**part, "title": f"{whole.get('title', name)}, in part"}


def _add_patch(reference: str, definitions: dict[str, Any]) -> None:
    """Describe a merge patch of a model: any of its members, null for those that can be taken away."""
    name = reference.rpartition("/")[2]
    whole = definitions[name]
    required = set(whole.get("required", ()))
    given = {
        member: {key: part for key, part in schema.items() if key != "default"}
        for member, schema in whole["properties"].items()
    }
    members = {
        member: schema if member in required else {"anyOf": [schema, {"type": "null"}]}
        for member, schema in given.items()
    }
    definitions[f"{name}Patch"] = {
        "title": f"{name}, patched",
        "type": "object",
        "properties": members,
        "additionalProperties": False,
    }


def _operation(
    endpoint: AnyEndpoint, references: References, definitions: Mapping[str, Any]
) -> dict[str, Any]:
    said = cleandoc(endpoint.handle.__doc__ or "")
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "tags": [endpoint.tag],
        "summary": said.partition(".")[0].partition(";")[0],
        "description": "\n\n".join([said, *_filters(endpoint.params), said_of(endpoint.route)]),
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, references, definitions),
    }
    if endpoint.open:
        operation["security"] = []
    if endpoint.body is Raw:
        operation["requestBody"] = {"required": False, "content": {endpoint.takes: {"schema": {}}}}
    elif endpoint.body is not NoBody:
        operation["requestBody"] = {"required": endpoint.needs_body, "content": _body(endpoint, references)}
    return operation


def _filters(params: type[BaseModel]) -> Iterator[str]:
    """What the models of filters say of themselves."""
    for model in params.__mro__:
        said = cleandoc(model.__dict__.get("__doc__") or "")
        if said.startswith("Which "):
            yield said


def _body(endpoint: AnyEndpoint, references: References) -> dict[str, Any]:
    schema, name = references[endpoint.body, "validation"], endpoint.body.__name__
    if endpoint.method == "PATCH":
        patch = {"$ref": f"{schema['$ref']}Patch"}
        return {MERGE_PATCH: {"schema": patch, "example": example_of(name, patch=True)}}
    return {JSON: {"schema": schema, "example": example_of(name)}}


def _parameters(endpoint: AnyEndpoint) -> list[dict[str, Any]]:
    in_path = set(_PATH_PARAMETER.findall(endpoint.path))
    schema = endpoint.params.model_json_schema(ref_template=_REF)
    described = [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in schema.get("required", ()),
            **({} if "description" in part else _described(name)),
            "schema": _CURSOR if name == "cursor" else part,
        }
        for name, part in schema.get("properties", {}).items()
    ]
    if endpoint.fields:
        described.append(_fields(endpoint.fields))
    if _is_tagged(endpoint):
        described.append(_header("If-None-Match", "The `ETag` of an answer that the caller has."))
    if endpoint.takes_key:
        said = "Sent again with the same key within 24 hours, the request is done once and answered alike."
        described.append(_header(once.HEADER, said, minLength=1, maxLength=200))
    if endpoint.conditional:
        described.append(_header("If-Match", "The `ETag` of the resource as the caller has seen it."))
        described.append(_header("If-None-Match", "The `ETag` that the resource must not have."))
    return described


def _described(name: str) -> dict[str, str]:
    """What goes without saying of a parameter of this name, for those who read all of it."""
    if name in _ABOUT:
        return {"description": _ABOUT[name]}
    noun, _, what = name.rpartition("_")
    return {"description": f"The id of the {noun.replace('_', ' ')}."} if what == "id" else {}


def _fields(names: Sequence[str]) -> dict[str, Any]:
    names_of_fields = {"type": "string", "enum": list(names)}
    return {
        "name": FIELDS,
        "in": "query",
        "required": False,
        "description": "Which fields to answer; all, where it is left out.",
        "style": "form",
        "explode": False,
        "schema": {"type": "array", "items": names_of_fields, "minItems": 1, "uniqueItems": True},
    }


def _header(name: str, description: str, **schema: object) -> dict[str, Any]:
    described = {"type": "string", **schema}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": described}


def _is_tagged(endpoint: AnyEndpoint) -> bool:
    return endpoint.method == "GET" and not endpoint.lines


def _responses(
    endpoint: AnyEndpoint, references: References, definitions: Mapping[str, Any]
) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.reply is File:
        success["content"] = {"*/*": {"schema": {}}}
    elif endpoint.reply is not Nothing:
        schema = references[endpoint.reply, "serialization"]
        example = sample_of(schema, definitions)
        if endpoint.fields:
            schema = {"anyOf": [schema, {"$ref": f"{schema['$ref']}Part"}]}
        success["content"] = {
            LINES if endpoint.lines else "application/json": {"schema": schema, "example": example}
        }
    problem = {MEDIA_TYPE: {"schema": references[Problem, "serialization"]}}
    errors = {
        str(status): {"description": _refusal(status, codes), "content": problem}
        for status, codes in codes_by_status(endpoint).items()
    }
    for status in _ON_ERROR.keys() & errors.keys():
        errors[status]["headers"] = _headers((_ON_ERROR[status],))
    success["headers"] = _headers(_sent_with(endpoint))
    answers = {str(endpoint.status): success, **errors}
    if _is_tagged(endpoint):
        answers["304"] = {"description": "Not Modified", "headers": _headers(("ETag",))}
    return answers


def _refusal(status: int, codes: Sequence[str]) -> str:
    return f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}"


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _sent_with(endpoint: AnyEndpoint) -> Iterator[str]:
    """The headers of an answer that is no error."""
    yield from ("X-Request-Id", "Server-Timing")
    if not endpoint.open:
        yield from ("RateLimit", "RateLimit-Policy")
    if _is_tagged(endpoint) or (endpoint.lock is not None and endpoint.status != 204):
        yield "ETag"
    if endpoint.made_at:
        yield "Location"
    if endpoint.takes_key:
        yield once.REPLAYED
