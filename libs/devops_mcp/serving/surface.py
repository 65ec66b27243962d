"""The one ASGI layer in front of every application: host, origin, size, request id, trace, metrics, one log line.

One layer, because each costs a coroutine and a closure a request; the parts live in modules of their own.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeAlias

import structlog
from opentelemetry.trace import Span, SpanKind
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from devops_mcp.config import ServerSettings
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.ids import new_id
from devops_mcp.observability.caller import set_address
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import TRACEPARENT, continued
from devops_mcp.serving import cors, problems
from devops_mcp.serving.bodies import BoundedBody, Room, announced_length
from devops_mcp.serving.hosts import HostPolicy, is_address
from devops_mcp.serving.limits import BodyLimits
from devops_mcp.serving.routes import PROBED

log = structlog.get_logger()

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
Challenge: TypeAlias = Callable[[Scope], bytes]
"""What `WWW-Authenticate` says to a request that is refused for want of a credential."""

_WANTED = frozenset(
    {b"host", b"origin", b"content-length", b"transfer-encoding", b"traceparent", b"x-request-id"}
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_TYPES = re.compile(r":\w+}")
_CHALLENGE = b"www-authenticate"
_UNMATCHED = "unmatched"
_EXTRA = "extra_headers"
_RECORDED = "is_recorded"


def add_headers(scope: Scope, headers: Mapping[str, str]) -> None:
    """Have the answer to this request carry the headers, whatever it will be."""
    scope["state"][_EXTRA] += [(name.encode(), value.encode()) for name, value in headers.items()]


def recorded(scope: Scope) -> None:
    """Have the log tell of this request at `debug` where it goes well: who did what in it, and for how long, stands in the audit log."""
    scope["state"][_RECORDED] = True


class Surface:
    """Wraps an ASGI application; lifespan passes through. `challenge` takes the place of a plain `Bearer`."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        metrics: Metrics,
        body_limits: BodyLimits | None = None,
        challenge: Challenge | None = None,
    ) -> None:
        self._app = app
        self._hosts = HostPolicy(settings)
        self._metrics = metrics
        self._body_limits = body_limits or BodyLimits()
        self._room = Room(self._body_limits)
        self._offers_cors = bool(settings.allowed_origins)
        self._challenge = challenge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _Head(scope)
        request_id = _identify(scope, head)
        extra = scope["state"][_EXTRA] = self._extra_headers(head, request_id)
        started = time.perf_counter()
        answer = _Answer(send, extra, partial(self._denied, scope), started)
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with continued(head.carrier(), scope["method"], SpanKind.SERVER, attributes) as span:
            try:
                await self._dispatch(scope, head, receive, answer)
            except Exception as error:  # noqa: BLE001 - the ASGI border
                await self._fail(error, scope, receive, answer)
            finally:
                self._record(scope, answer.status, time.perf_counter() - started, span)

    async def _dispatch(self, scope: Scope, head: "_Head", receive: Receive, answer: "_Answer") -> None:
        refusal = self._refusal(scope, head) or cors.preflight(scope, head.get(b"origin"), self._hosts)
        if refusal is not None:
            await refusal(scope, receive, answer.send)
        elif head.has_body():
            announced = announced_length(head.get(b"content-length"))
            body = BoundedBody(receive, answer.send, scope["path"], announced, self._body_limits, self._room)
            await body.run(self._app, scope, partial(_told, scope))
        else:
            await self._app(scope, receive, answer.send)

    def _refusal(self, scope: Scope, head: "_Head") -> Response | None:
        host, origin = head.get(b"host"), head.get(b"origin")
        if head.hosts != 1:
            return problems.problem(400, "malformed_input", "a request needs exactly one Host")
        if not self._hosts.serves(host) and not (scope["path"] in PROBED and is_address(host)):
            return problems.problem(
                421, "misdirected_request", "this Host is not served here; see allowed_hosts"
            )
        if origin and not self._hosts.admits(origin, host):
            return problems.problem(403, "forbidden", "this Origin may not call here; see allowed_origins")
        if _has_nul(scope):
            return problems.problem(400, "malformed_input", "the request target holds a NUL character")
        return None

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = _Head(scope)
        _identify(scope, head)
        refusal = self._refusal(scope, head)
        socket = _Socket(send, self._metrics, partial(self._denied, scope))
        started = time.perf_counter()
        try:
            if refusal is not None:
                await refusal(scope, receive, socket.send)
            else:
                await self._app(scope, receive, socket.send)
        except (ClientDisconnected, WebSocketDisconnect):
            pass  # the client left: nobody to answer
        except Exception:
            log.exception("websocket failed", route=_template(scope))
            await socket.fail(scope, receive)
        finally:
            socket.gone()
            seconds = time.perf_counter() - started
            log.info(
                "websocket closed",
                route=_template(scope),
                status=socket.status,
                duration_ms=round(seconds * 1_000, 1),
            )

    async def _fail(self, error: Exception, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Turn what nobody caught into a problem document, unless an answer has begun; its text goes to the log alone."""
        response = problems.of_exception(error, scope["state"]["request_id"])
        if response.status_code == 500:
            log.error("request failed", exc_info=error)
        if answer.status is None:
            await response(scope, receive, answer.send)

    def _denied(self, scope: Scope, headers: Headers) -> Headers:
        """The headers of a 401, which say how to come by a credential."""
        if self._challenge is None:
            return headers
        return [*(h for h in headers if h[0] != _CHALLENGE), (_CHALLENGE, self._challenge(scope))]

    def _extra_headers(self, head: "_Head", request_id: str) -> list[tuple[bytes, bytes]]:
        extra = [(b"x-request-id", request_id.encode("ascii")), (b"x-content-type-options", b"nosniff")]
        if self._offers_cors:
            extra += cors.headers(head.get(b"origin"), self._hosts)
        return extra

    def _record(self, scope: Scope, status: int | None, seconds: float, span: Span) -> None:
        route, method = _template(scope), scope["method"]
        # 499 as nginx has it: the client left, or we were stopped, before an answer.
        self._metrics.http_request(method, route, status or 499, seconds)
        if span.is_recording():
            span.update_name(f"{method} {route}")
            span.set_attributes({"http.route": route, "http.response.status_code": status or 499})
        went_well = status is not None and status < 400
        if scope["path"] in PROBED and went_well:
            return
        say = log.debug if went_well and _RECORDED in scope["state"] else log.info
        say(
            "request served",
            method=method,
            route=route,
            path=scope["path"],
            status=status,
            outcome=_outcome(status),
            duration_ms=round(seconds * 1_000, 1),
        )


class _Head:
    """The few headers this layer looks at."""

    __slots__ = ("_found", "hosts")

    def __init__(self, scope: Scope) -> None:
        self._found: dict[bytes, bytes] = {}
        self.hosts = 0
        for name, value in scope["headers"]:
            if name in _WANTED:
                self._found[name] = value
                self.hosts += name == b"host"

    def get(self, name: bytes) -> bytes:
        return self._found.get(name, b"")

    def has_body(self) -> bool:
        return self._found.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self._found

    def carrier(self) -> dict[str, str]:
        traceparent = self._found.get(b"traceparent")
        return {TRACEPARENT: traceparent.decode("latin-1")} if traceparent else {}


class _Answer:
    """Sends the application's answer with our headers, and remembers its status."""

    __slots__ = ("_denied", "_extra", "_send", "_started", "status")

    def __init__(
        self, send: Send, extra: Headers, denied: Callable[[Headers], Headers], started: float
    ) -> None:
        self._send = send
        self._extra = extra
        self._started = started
        self._denied = denied
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            took_ms = (time.perf_counter() - self._started) * 1_000
            own = [*message.get("headers", ()), *self._extra, (b"server-timing", b"total;dur=%.1f" % took_ms)]
            message = {**message, "headers": self._denied(own) if self.status == 401 else own}
        await self._send(message)


class _Socket:
    """Follows a WebSocket's state by what is sent on it."""

    __slots__ = ("_denied", "_metrics", "_send", "open", "status")

    def __init__(self, send: Send, metrics: Metrics, denied: Callable[[Headers], Headers]) -> None:
        self._send = send
        self._denied = denied
        self._metrics = metrics
        self.open = False
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.status, self.open = 101, True
            self._metrics.websocket_connections.inc()
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
            if self.status == 401:
                message = {**message, "headers": self._denied(message.get("headers", ()))}
        elif kind == "websocket.close":
            self.status = self.status or 403
            self.gone()
        await self._send(message)

    async def fail(self, scope: Scope, receive: Receive) -> None:
        if self.open:
            await self.send({"type": "websocket.close", "code": 1011})
        elif self.status is None:
            await problems.of_unknown(scope["state"]["request_id"])(scope, receive, self.send)

    def gone(self) -> None:
        if self.open:
            self.open = False
            self._metrics.websocket_connections.dec()


def _identify(scope: Scope, head: _Head) -> str:
    """Give the request its id: the caller's if it is sane, else a new one."""
    offered = head.get(b"x-request-id")
    request_id = offered.decode("ascii") if _REQUEST_ID.fullmatch(offered) else new_id().hex
    scope.setdefault("state", {})["request_id"] = request_id
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    client = scope.get("client")
    set_address(client[0] if client else None)
    return request_id


def _told(scope: Scope, error: PlatformError) -> Response:
    return problems.of_error(error, scope["state"]["request_id"])


def _has_nul(scope: Scope) -> bool:
    # PostgreSQL refuses NUL in text; anything else would hold it until then.
    return "\x00" in scope["path"] or b"%00" in scope.get("query_string", b"")


def _template(scope: Scope) -> str:
    """The route's template, below the mounts it was found in: a path would be a label without bound."""
    route: Any = scope.get("route")
    path = getattr(route, "path", None)
    return _UNMATCHED if path is None else _without_types(scope.get("root_path", ""), path)


@lru_cache(maxsize=1_024)
def _without_types(root_path: str, path: str) -> str:
    return _TYPES.sub("}", f"{root_path}{path}")


def _outcome(status: int | None) -> str:
    if status is None:
        return "abandoned"
    if status < 400:
        return "ok"
    return "refused" if status < 500 else "failed"
