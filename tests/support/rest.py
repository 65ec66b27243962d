"""A caller of rest-api over real HTTP, which holds every answer against the OpenAPI document."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from jsonschema import Draft202012Validator

from rest_api.endpoint import LINES
from rest_api.openapi import document
from rest_api.routes import ENDPOINTS
from support.services import new_key, running_rest

DOCUMENT = document(ENDPOINTS)
ANYTHING = "*/*"
OF_SOME_ANSWERS = {"etag", "location"}
"""Headers that each answer has of which the document says so, and no other."""


class Rest:
    """A caller that refuses answers which the document does not have."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def __call__(self, method: str, path: str, **options: Any) -> httpx2.Response:
        answer = await self.http.request(method, path, **options)
        if path.startswith("/api/"):
            _hold_against_document(method, path.partition("?")[0], answer)
        return answer


def _hold_against_document(method: str, path: str, answer: httpx2.Response) -> None:
    fitting = [
        template
        for template, operations in DOCUMENT["paths"].items()
        if method.lower() in operations and _fits(template, path)
    ]
    operation = DOCUMENT["paths"][min(fitting, key=_holes)][method.lower()]
    described = operation["responses"][str(answer.status_code)]
    if answer.status_code >= 400:
        assert f"`{answer.json()['code']}`" in described["description"], (method, path, answer.text)
    missing = {name.lower() for name in described.get("headers", {})} ^ answer.headers.keys()
    assert not missing & OF_SOME_ANSWERS, (method, path, missing)
    for media_type, content in described.get("content", {}).items():
        if media_type == ANYTHING:
            continue
        assert answer.headers["content-type"] == media_type
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        for shown in [answer.json()] if media_type != LINES else map(json.loads, answer.text.splitlines()):
            Draft202012Validator(schema).validate(shown)


def _holes(template: str) -> int:
    return template.count("{")


def _fits(template: str, path: str) -> bool:
    one, other = template.split("/"), path.split("/")
    return len(one) == len(other) and all(
        a == b or a.startswith("{") for a, b in zip(one, other, strict=True)
    )


@asynccontextmanager
async def a_caller(database, settings, *grants: str, **changes: Any) -> AsyncIterator[Rest]:
    key = await new_key(database.owner_url, *grants, **changes)
    async with (
        running_rest(settings) as url,
        httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=60) as http,
    ):
        yield Rest(http)
