"""The OpenAPI document and what rest-api does, held against each other both ways."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import httpx2
import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from devops_mcp.observability.metrics import Metrics
from rest_api.app import open_app
from rest_api.docs import page as documentation_page
from rest_api.endpoint import NoBody, Raw
from rest_api.examples import EXAMPLES
from rest_api.openapi import document
from rest_api.refusals import codes_by_status
from rest_api.routes import ENDPOINTS
from support.services import new_key, running_rest, settings_for

DOCUMENT = document(ENDPOINTS)
NOT_IN_THE_DOCUMENT = re.compile(r"/(metrics|openapi\.json|docs|oauth/|\.well-known/)")
"""For operators and readers; and what OAuth describes."""
API = "/api/v1/"

# What a schema cannot say may be refused: a NUL in a text, an integer beyond 64 bits, two parameters that exclude each other; and a
# caller that has the answer already (`If-None-Match: *`) does not get it again.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 400, 403, 404, 409, 412, 422]

[checks.negative_data_rejection]
expected-statuses = ["4xx"]

# What the schemas allow is right only for who knows a password or a token.
[[operations]]
include-tag = "sessions"

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 400, 401, 403, 404, 422, 429]

# There is no integration that deliveries could be for, nor anybody who could have signed them.
[[operations]]
include-tag = "incoming webhooks"

[operations.checks.positive_data_acceptance]
expected-statuses = ["4xx"]
"""
HOOKS = Path(__file__).parents[1] / "support"
MADE_UP = 3
"""Made up for each operation, besides those that cover each keyword of its schemas."""


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, requests_per_s=0)


@pytest.mark.timeout(1_200)  # half a minute of CPU, on however many cores there are for it
async def test_whatever_the_schemas_allow_or_forbid_is_answered_as_the_document_says(
    database, settings, tmp_path: Path
):
    """H01-H09: Schemathesis makes up some thousands of requests, right and wrong ones, and judges the answers."""
    key = await new_key(database.owner_url)
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    async with running_rest(settings) as url:
        options = [
            "--phases",
            "examples,coverage,fuzzing",
            "--checks",
            "all",
            "--max-examples",
            str(MADE_UP),
        ]
        quiet = ["--no-color", "--warnings", "off", "--no-shrink", "--output-truncate", "false"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
            *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {key}"),
            *("--generation-deterministic", "--generation-with-security-parameters", "false"),
            *(*options, *quiet),
            env={**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HOOKS)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-20_000:]
    assert f"Tested: {sum(len(methods) for methods in DOCUMENT['paths'].values())}" in said.decode()


async def test_every_route_is_in_the_document_and_every_operation_is_a_route(settings):
    async with open_app(settings, Metrics(), asyncio.Event()) as surface:
        routes = [route for route in surface._app.routes if isinstance(route, Route)]  # type: ignore[attr-defined]
    served = {
        (re.sub(r":\w+}", "}", route.path), method)
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
        if not NOT_IN_THE_DOCUMENT.fullmatch(route.path) and not NOT_IN_THE_DOCUMENT.match(route.path)
    }
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert served == described


async def test_the_document_is_what_openapi_3_1_allows():
    assert DOCUMENT["openapi"].startswith("3.1.")
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    operations = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for operation in operations)
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            assert not path.startswith(API) or {"401", "403", "422"} <= operation["responses"].keys()


def test_what_can_be_replaced_and_read_can_be_patched():
    """But for what is only stored: a patch of nothing that is shown would be a replacement."""
    for path, operations in DOCUMENT["paths"].items():
        replaced = "put" in operations and "409" in operations["put"]["responses"] and "get" in operations
        assert ("patch" in operations) == (replaced and path != "/api/v1/me/credentials/{integration}"), path


def bodies_of(operation) -> list[dict]:
    """What is said of the request's body, for each of its media types."""
    return list(operation.get("requestBody", {"content": {}})["content"].values())


def test_every_body_has_an_example_that_is_right():
    bodies = {one.body.__name__: one for one in ENDPOINTS if one.body not in (NoBody, Raw)}
    assert bodies.keys() == EXAMPLES.keys()
    for name, endpoint in bodies.items():
        endpoint.body.model_validate_json(json.dumps(EXAMPLES[name]), strict=True)
    for endpoint in ENDPOINTS:
        for said in bodies_of(DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]):
            assert endpoint.body is Raw or said["example"], endpoint.path


def answers_of(operation) -> dict[str, dict]:
    """What is said of an answer that is no error, for each of its media types."""
    return {
        media_type: said
        for status, answer in operation["responses"].items()
        for media_type, said in answer.get("content", {}).items()
        if status.startswith("2")
    }


def test_every_answer_has_an_example_that_is_right():
    schemas = {"components": DOCUMENT["components"]}
    shown = 0
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for media_type, said in answers_of(operation).items():
                if media_type == "*/*" or not path.startswith(API):
                    continue
                faults = Draft202012Validator({**said["schema"], **schemas}).iter_errors(said["example"])
                assert [fault.message for fault in faults] == [], (method, path)
                shown += 1
    assert shown > 100


def test_the_document_says_what_its_tags_and_errors_are_and_can_be_read_offline():
    operations = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert {tag["name"] for tag in DOCUMENT["tags"]} == {tag for one in operations for tag in one["tags"]}
    for endpoint in ENDPOINTS:
        assert all(codes_by_status(endpoint).values()), endpoint.path
    page = documentation_page(DOCUMENT)
    shown = [said for one in operations for said in (*bodies_of(one), *answers_of(one).values())]
    assert page.count("<pre>") == sum("example" in said for said in shown)
    assert re.findall(r'(?:src|href)="([^#/][^"]*)"', page) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("PATCH", "/api/v1/contexts", 405, {"GET", "HEAD", "POST"}),
        ("GET", "/api/v1/dead-letters/purge", 405, {"POST"}),
        ("HEAD", "/api/v1/contexts", 200, None),
        ("GET", "/api/v1/nothing", 404, None),
        ("GET", "/api/v1/contexts/nonsense", 404, None),
    ],
)
async def test_methods_and_paths_that_are_not_there_are_refused_in_the_documents_words(
    database, settings, method, path, status, allowed
):
    key = await new_key(database.owner_url)
    async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        answer = await http.request(method, path, headers={"X-API-Key": key})
    assert answer.status_code == status
    if allowed is not None:
        assert set(answer.headers["allow"].split(", ")) == allowed
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
