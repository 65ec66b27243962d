"""The border as an application sees it; what needs a real socket is in tests/integration/serving."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket
from structlog.testing import capture_logs

from devops_mcp.config import ServerSettings
from devops_mcp.models.errors import NotFound, PayloadTooLarge, Unauthenticated, Unavailable
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.health import Check, Health
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import start_tracing
from devops_mcp.serving import problems
from devops_mcp.serving.authentication import principal_of
from devops_mcp.serving.limits import BodyLimits
from devops_mcp.serving.routes import common_routes
from devops_mcp.serving.surface import Surface, recorded

SETTINGS = ServerSettings(
    port=8080, allowed_hosts=("testserver",), allowed_origins=("https://app.example.com",)
)


async def fails(request: Request) -> Response:
    raise RuntimeError("canary")


async def missing(request: Request) -> Response:
    raise NotFound("no such thing")


async def unavailable(request: Request) -> Response:
    raise Unavailable("the database does not answer", retry_after_s=2)


async def echo_length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def swallows(request: Request) -> Response:
    try:
        await request.body()
    except PayloadTooLarge:
        return PlainTextResponse("all is well")
    return PlainTextResponse("read")


async def fails_late(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError("canary")

    return StreamingResponse(body())


async def records(request: Request) -> Response:
    recorded(request.scope)
    if request.path_params["way"] == "badly":
        raise NotFound("no such thing")
    return PlainTextResponse("done")


async def secured(connection: HTTPConnection) -> Principal:
    async def authenticate(headers: Any) -> Principal:
        if headers.get("authorization") != "Bearer good":
            raise Unauthenticated("the request carries no valid credential")
        return Principal(id=uuid4(), tenant_id=uuid4(), kind=PrincipalKind.AGENT, name="a", grants=("*",))

    return await principal_of(connection, authenticate)


async def whoami(request: Request) -> Response:
    return JSONResponse({"name": (await secured(request)).name, "request_id": request.state.request_id})


async def socket(websocket: WebSocket) -> None:
    await secured(websocket)
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "fail":
            raise RuntimeError("canary")
        await websocket.send_text(text)


async def database_down() -> str | None:
    raise Unavailable("the database does not answer")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> Iterator[TestClient]:
    routes = [
        *common_routes(Health([Check("database", True, database_down)]), metrics),
        Route("/fails", fails),
        Route("/fails-late", fails_late),
        Route("/missing/{id}", missing),
        Route("/unavailable", unavailable),
        Route("/records/{way}", records),
        Route("/length", echo_length, methods=["POST"]),
        Route("/swallows", swallows, methods=["POST"]),
        Route("/webhooks/{system}", echo_length, methods=["POST"]),
        Mount("/nested", routes=[Route("/{id}", whoami)]),
        WebSocketRoute("/ws", socket),
    ]
    app = Starlette(routes=routes, exception_handlers=problems.exception_handlers())
    surface = Surface(app, SETTINGS, metrics, BodyLimits(default=1_000, by_prefix=(("/webhooks/", 5_000),)))
    with TestClient(surface, raise_server_exceptions=False) as client:
        yield client


def test_an_unknown_error_is_a_500_that_shows_nothing_and_logs_everything(client: TestClient) -> None:
    with capture_logs() as logs:
        response = client.get("/fails")

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "canary" not in response.text
    assert response.json()["request_id"] == response.headers["x-request-id"]
    (failed,) = [entry for entry in logs if entry["event"] == "request failed"]
    assert "canary" in str(failed["exc_info"])


def test_an_error_after_the_answer_began_is_logged_once(client: TestClient) -> None:
    with capture_logs() as logs:
        client.get("/fails-late")

    assert [entry["event"] for entry in logs] == ["request failed", "request served"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/missing/1", 404, "not_found"),
        ("GET", "/no/such/route", 404, "not_found"),
        ("DELETE", "/fails", 405, "method_not_allowed"),
        ("GET", "/unavailable", 503, "unavailable"),
        ("GET", "/nested/1", 401, "unauthenticated"),
    ],
)
def test_every_refusal_is_a_problem_document(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


def test_one_line_a_request_says_how_it_ended(client: TestClient) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        response = client.get("/missing/secret-name", headers={"x-request-id": "caller-chosen-1"})

    (line,) = logs
    assert line["event"] == "request served"
    assert (line["route"], line["status"], line["outcome"], line["method"]) == (
        "/missing/{id}",
        404,
        "refused",
        "GET",
    )
    assert line["error"] == "not_found"
    assert line["request_id"] == response.headers["x-request-id"] == "caller-chosen-1"
    assert line["duration_ms"] >= 0


@pytest.mark.parametrize(("way", "level"), [("well", "debug"), ("badly", "info")])
def test_what_the_audit_log_has_is_told_of_only_where_it_went_badly(
    client: TestClient, way: str, level: str
) -> None:
    with capture_logs() as logs:
        client.get(f"/records/{way}")
    assert [(line["event"], line["log_level"]) for line in logs] == [("request served", level)]


def test_the_line_names_the_caller_once_known(client: TestClient) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        client.get("/nested/1", headers={"authorization": "Bearer good"})

    assert {"tenant_id", "principal_id"} <= logs[0].keys()
    assert logs[0]["route"] == "/nested/{id}"


@pytest.mark.parametrize("offered", ["short", "has space inside", "x" * 65, 'a"b{c}12345', "line\tbreak1"])
def test_a_request_id_that_is_not_sane_is_replaced(client: TestClient, offered: str) -> None:
    given = client.get("/missing/1", headers={"x-request-id": offered}).headers["x-request-id"]

    assert given != offered
    assert len(given) == 32


def test_metrics_count_by_template_and_unknown_paths_together(client: TestClient, metrics: Metrics) -> None:
    for number in range(3):
        client.get(f"/missing/{number}")
        client.get(f"/random/{number}")

    value = metrics.registry.get_sample_value
    assert (
        value("devops_mcp_http_requests_total", {"method": "GET", "route": "/missing/{id}", "status": "404"})
        == 3
    )
    assert (
        value("devops_mcp_http_requests_total", {"method": "GET", "route": "unmatched", "status": "404"}) == 3
    )


def test_a_request_continues_its_callers_trace(client: TestClient) -> None:
    spans = InMemorySpanExporter()
    shutdown = start_tracing("under-test", "0", exporter=spans)
    client.get(
        "/missing/1", headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    )
    shutdown()

    (span,) = spans.get_finished_spans()
    assert span.name == "GET /missing/{id}"
    assert span.context is not None
    assert format(span.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 404


def test_a_foreign_host_is_misdirected_and_never_reflected(client: TestClient) -> None:
    """H09"""
    response = client.get("/missing/1", headers={"host": "evil.example"})

    assert response.status_code == 421
    assert "evil" not in response.text + str(response.headers)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example.com.evil.example"])
def test_a_foreign_origin_is_refused_and_gets_no_cors(client: TestClient, origin: str) -> None:
    """H09"""
    for method in ("GET", "OPTIONS"):
        response = client.request(
            method, "/missing/1", headers={"origin": origin, "access-control-request-method": "GET"}
        )

        assert response.status_code == 403
        assert not any(name.startswith("access-control") for name in response.headers)


def test_a_listed_origin_gets_cors_without_credentials(client: TestClient) -> None:
    """H09"""
    headers = {"origin": "https://app.example.com", "access-control-request-method": "POST"}

    preflight = client.options("/length", headers=headers)
    answer = client.get("/missing/1", headers=headers)

    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    for response in (preflight, answer):
        assert response.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "access-control-allow-credentials" not in response.headers
        assert response.headers["vary"] == "origin"


def test_a_probe_by_address_is_answered_and_other_paths_are_not(client: TestClient) -> None:
    by_address = {"host": "10.1.2.3:8080"}

    assert client.get("/health/live", headers=by_address).json() == {"status": "live"}
    assert client.get("/missing/1", headers=by_address).status_code == 421
    assert client.get("/health/live", headers={"host": "evil.example"}).status_code == 421


def test_readiness_names_each_dependency(client: TestClient) -> None:
    response = client.get("/health/ready")

    assert response.status_code == 503
    assert response.json()["status"] == "unready"
    assert response.json()["checks"]["database"]["detail"] == "the database does not answer"


def test_probes_that_are_well_leave_no_line(client: TestClient) -> None:
    with capture_logs() as logs:
        client.get("/health/live")
        page = client.get("/metrics")

    assert logs == []
    assert "devops_mcp_http_requests_total" in page.text


@pytest.mark.parametrize("target", ["/missing/a%00b", "/missing/1?q=a%00b"])
def test_nul_in_the_target_is_refused_before_the_application(client: TestClient, target: str) -> None:
    """H05"""
    assert client.get(target).status_code == 400


@pytest.mark.parametrize(("path", "limit"), [("/length", 1_000), ("/webhooks/github", 5_000)])
def test_a_body_at_the_limit_passes_and_one_byte_more_does_not(
    client: TestClient, path: str, limit: int
) -> None:
    """H04"""
    assert client.post(path, content=b"x" * limit).text == str(limit)
    refused = client.post(path, content=b"x" * (limit + 1))

    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert refused.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/length", "/swallows"])
def test_a_streamed_body_is_cut_where_it_crosses_the_limit(client: TestClient, path: str) -> None:
    """H04"""
    refused = client.post(path, content=iter([b"x" * 600] * 3))

    assert refused.status_code == 413


async def test_an_announced_body_over_the_limit_is_refused_unread() -> None:
    """H04"""
    reached = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal reached
        reached = True

    sent: list[Any] = []
    answered = asyncio.Event()

    async def receive() -> Any:
        assert answered.is_set(), "read before answering"
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            answered.set()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "headers": [(b"host", b"testserver"), (b"content-length", b"10000000")],
    }
    await Surface(app, SETTINGS, Metrics())(scope, receive, send)

    assert sent[0]["status"] == 413
    assert not reached


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer bad"}, 401),
        ({"authorization": "Bearer good", "origin": "https://evil.example"}, 403),
        ({"authorization": "Bearer good", "origin": "null"}, 403),
        ({"authorization": "Bearer good", "host": "evil.example"}, 421),
    ],
)
def test_a_handshake_is_denied_before_the_upgrade(
    client: TestClient, metrics: Metrics, headers: dict[str, str], status: int
) -> None:
    """S01"""
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/ws", headers=headers):
        pass

    assert denied.value.status_code == status
    assert denied.value.headers["content-type"] == "application/problem+json"
    assert metrics.registry.get_sample_value("devops_mcp_websocket_connections") == 0


def test_an_open_socket_is_counted_until_it_closes(client: TestClient, metrics: Metrics) -> None:
    with client.websocket_connect("/ws", headers={"authorization": "Bearer good"}) as ws:
        ws.send_text("hello")
        assert ws.receive_text() == "hello"
        assert metrics.registry.get_sample_value("devops_mcp_websocket_connections") == 1

    assert metrics.registry.get_sample_value("devops_mcp_websocket_connections") == 0


def test_a_failing_socket_is_closed_with_1011_and_logged(client: TestClient, metrics: Metrics) -> None:
    with (
        capture_logs() as logs,
        client.websocket_connect("/ws", headers={"authorization": "Bearer good"}) as ws,
    ):
        ws.send_text("fail")
        assert ws.receive()["code"] == 1011

    assert "websocket failed" in [entry["event"] for entry in logs]
    assert metrics.registry.get_sample_value("devops_mcp_websocket_connections") == 0
