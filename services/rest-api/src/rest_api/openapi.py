"""The OpenAPI 3.1 document, made from the table of endpoints."""

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from devops_mcp.models.base import Model
from devops_mcp.serving.problems import MEDIA_TYPE
from rest_api.endpoint import LINES, AnyEndpoint, NoBody, Nothing

_REF = "#/components/schemas/{model}"
_ALWAYS = (400, 401, 403, 413, 414, 422, 503)
_PATH_PARAMETER = re.compile(r"{(\w+)}")


class Problem(Model):
    """An error (RFC 9457). `code` is stable; `violations` name each fault of the input."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
    request_id: str | None = None
    violations: tuple[dict[str, str], ...] = Field(default=())


def document(endpoints: Sequence[AnyEndpoint]) -> dict[str, Any]:
    """The document of these endpoints."""
    references, definitions = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DevOps MCP",
            "version": version("devops-mcp"),
            "description": "The platform that connects AI agents to the systems that run software.",
        },
        "security": [{"bearer": []}, {"apiKey": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
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


def _schemas(endpoints: Iterable[AnyEndpoint]) -> tuple[References, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for endpoint in endpoints:
        wanted[endpoint.params, "validation"] = None
        if endpoint.body is not NoBody:
            wanted[endpoint.body, "validation"] = None
        if endpoint.reply is not Nothing:
            wanted[endpoint.reply, "serialization"] = None
    references, schema = models_json_schema(list(wanted), ref_template=_REF)
    return references, schema.get("$defs", {})  # type: ignore[return-value]


def _operation(endpoint: AnyEndpoint, references: References) -> dict[str, Any]:
    description = cleandoc(endpoint.handle.__doc__ or "")
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "tags": [endpoint.tag],
        "summary": description.partition(".")[0].partition(";")[0],
        "description": description,
        "parameters": _parameters(endpoint),
        "responses": _responses(endpoint, references),
    }
    if endpoint.open:
        operation["security"] = []
    if endpoint.body is not NoBody:
        schema = references[endpoint.body, "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters(endpoint: AnyEndpoint) -> list[dict[str, Any]]:
    in_path = set(_PATH_PARAMETER.findall(endpoint.path))
    schema = endpoint.params.model_json_schema(ref_template=_REF)
    return [
        {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in schema.get("required", ()),
            "schema": part,
        }
        for name, part in schema.get("properties", {}).items()
    ]


def _responses(endpoint: AnyEndpoint, references: References) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.reply is not Nothing:
        schema = references[endpoint.reply, "serialization"]
        success["content"] = {LINES if endpoint.lines else "application/json": {"schema": schema}}
    problem = {MEDIA_TYPE: {"schema": references[Problem, "serialization"]}}
    errors = {
        str(status): {"description": HTTPStatus(status).phrase, "content": problem}
        for status in sorted({*_ALWAYS, *endpoint.errors})
    }
    return {str(endpoint.status): success, **errors}
