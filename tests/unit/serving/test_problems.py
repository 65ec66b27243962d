from collections.abc import Iterator

import orjson
import pytest

import rest_api.app  # noqa: F401 - all that may be raised there is known then
from devops_mcp.models.errors import (
    Conflict,
    InvalidInput,
    PlatformError,
    RateLimited,
    Unauthenticated,
    UpstreamRateLimited,
    Violation,
)
from devops_mcp.serving import problems


def kinds_of(error: type[PlatformError]) -> Iterator[type[PlatformError]]:
    yield error
    for kind in error.__subclasses__():
        yield from kinds_of(kind)


NOT_SERVED = ("devops_mcp.cli", "devops_mcp.embedded")
ERRORS = [
    kind
    for kind in kinds_of(PlatformError)
    if kind.__module__.startswith("devops_mcp.") and not kind.__module__.startswith(NOT_SERVED)
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_in_the_table(kind: type[PlatformError]) -> None:
    assert 400 <= problems.STATUS_BY_CODE[kind.code] < 600


def test_the_table_holds_no_code_that_no_error_has() -> None:
    assert set(problems.STATUS_BY_CODE) == {kind.code for kind in ERRORS}


def test_a_problem_document_says_what_was_wrong_with_which_input() -> None:
    error = InvalidInput("2 arguments are wrong", (Violation("arguments.limit", "must be at most 100"),))

    response = problems.of_error(error, "req-1")

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert orjson.loads(response.body) == {
        "type": "urn:devops-mcp:problem:invalid_input",
        "title": "Unprocessable Content"
        if "Content" in orjson.loads(response.body)["title"]
        else "Unprocessable Entity",
        "status": 422,
        "detail": "2 arguments are wrong",
        "code": "invalid_input",
        "retryable": False,
        "request_id": "req-1",
        "violations": [{"where": "arguments.limit", "problem": "must be at most 100"}],
    }


def test_details_cannot_overwrite_what_the_document_says_itself() -> None:
    document = orjson.loads(
        problems.of_error(Conflict("taken", details={"status": 200, "code": "ok", "holder": "b"})).body
    )

    assert (document["status"], document["code"], document["holder"]) == (409, "conflict", "b")


@pytest.mark.parametrize(("wait_s", "header"), [(0.2, "1"), (30.4, "30")])
def test_a_known_waiting_time_is_said(wait_s: float, header: str) -> None:
    assert (
        problems.of_error(RateLimited("too many calls", retry_after_s=wait_s)).headers["retry-after"]
        == header
    )
    assert problems.of_error(UpstreamRateLimited("github limits us", retry_after_s=wait_s)).status_code == 503


def test_an_unauthenticated_caller_is_told_how_to_authenticate() -> None:
    assert problems.of_error(Unauthenticated("no credential")).headers["www-authenticate"] == "Bearer"


def test_an_internal_error_shows_nothing_of_its_text() -> None:
    response = problems.of_error(PlatformError("canary", details={"canary": "canary"}))

    assert response.status_code == 500
    assert b"canary" not in response.body


def test_text_that_is_no_unicode_is_still_answered() -> None:
    response = problems.of_error(InvalidInput("bad name 'x\ud800'"))

    assert orjson.loads(response.body)["detail"] == "bad name 'x\\ud800'"
