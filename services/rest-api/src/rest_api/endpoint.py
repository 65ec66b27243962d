"""An endpoint as a value: from the same table come the routes and the OpenAPI document, so that the two cannot differ."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from devops_mcp.models.base import Model
from devops_mcp.models.errors import Forbidden, InvalidInput, Violation
from devops_mcp.models.principals import NOBODY, Principal
from devops_mcp.operations.deeds import refused
from devops_mcp.operations.platform import Platform
from devops_mcp.serving.authentication import principal_of
from devops_mcp.serving.strict_json import loads

LINES = "application/x-ndjson"


class NoParams(Model):
    """An endpoint that takes none."""


class NoBody(Model):
    """An endpoint without a request body."""


class Nothing(Model):
    """An answer without a body: 204."""


class Body(BaseModel):
    """Base of request bodies; unknown members are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ModelT = TypeVar("ModelT", bound=BaseModel)
ParamsT = TypeVar("ParamsT", bound=BaseModel)
BodyT = TypeVar("BodyT", bound=BaseModel)
ReplyT = TypeVar("ReplyT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[ParamsT, BodyT]):
    """One request, checked. `params` are those of the path and the query together."""

    platform: Platform
    principal: Principal
    params: ParamsT
    body: BodyT


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[ParamsT, BodyT, ReplyT]):
    """A method on a path. The handler's docstring is its description; `errors` are the statuses it answers beside 401, 403 and 503."""

    method: str
    path: str
    tag: str
    handle: Callable[[Call[ParamsT, BodyT]], Awaitable[ReplyT | AsyncIterator[ReplyT]]]
    reply: type[ReplyT]
    params: type[ParamsT] = cast("type[ParamsT]", NoParams)  # noqa: RUF009 - a class, not an instance
    body: type[BodyT] = cast("type[BodyT]", NoBody)  # noqa: RUF009
    status: int = 200
    errors: tuple[int, ...] = ()
    lines: bool = False
    """The handler answers an iterator, which is sent as JSON Lines; `reply` is what a line holds."""
    open: bool = False
    """It takes no credential, as what gives one; the call's principal is then nobody."""


AnyEndpoint = Endpoint[Any, Any, Any]


Serve: TypeAlias = Callable[[Request], Awaitable[Response]]


def routes_of(endpoints: Iterable[AnyEndpoint], platform: Platform) -> list[Route]:
    """One route a path, so that what is said of a method that it lacks names all that it has."""
    by_path: defaultdict[str, dict[str, AnyEndpoint]] = defaultdict(dict)
    for endpoint in endpoints:
        by_path[_pattern(endpoint)][endpoint.method] = endpoint
    return [_route(pattern, of_path, platform) for pattern, of_path in by_path.items()]


def _route(pattern: str, endpoints: Mapping[str, AnyEndpoint], platform: Platform) -> Route:
    serving = {method: _serving(endpoint, platform) for method, endpoint in endpoints.items()}

    async def serve(request: Request) -> Response:
        # Starlette has let no other method through; it adds HEAD to GET.
        return await serving["GET" if request.method == "HEAD" else request.method](request)

    name = "_or_".join(endpoint.handle.__name__ for endpoint in endpoints.values())
    return Route(pattern, serve, methods=list(endpoints), name=name)


def _pattern(endpoint: AnyEndpoint) -> str:
    """The path, whose ids match ids only: `/dead-letters/purge` is no dead letter."""

    def typed(hole: re.Match[str]) -> str:
        field = endpoint.params.model_fields.get(hole[1])
        return f"{{{hole[1]}:uuid}}" if field is not None and field.annotation is UUID else hole[0]

    return re.sub(r"{(\w+)}", typed, endpoint.path)


def _serving(endpoint: AnyEndpoint, platform: Platform) -> Serve:
    """What authenticates, checks, calls and answers."""

    authenticate = platform.authenticator.authenticate

    async def serve(request: Request) -> Response:
        principal = NOBODY if endpoint.open else await principal_of(request, authenticate)
        params = params_of(endpoint.params, request)
        body = await _body(endpoint, request)
        async with denials_recorded(platform, principal, endpoint.handle.__name__, request):
            reply = await endpoint.handle(Call(platform, principal, params, body))
        if isinstance(reply, AsyncIterator):
            return StreamingResponse(_lines(reply), endpoint.status, media_type=LINES)
        if endpoint.status == 204:
            return Response(status_code=204)
        # Not by way of Python's objects: a large float comes back from PostgreSQL as an integer that orjson does not write.
        headers = {"cache-control": "no-store"} if endpoint.open else None  # RFC 6749 §5.1
        return Response(reply.model_dump_json(), endpoint.status, headers, media_type="application/json")

    return serve


@asynccontextmanager
async def denials_recorded(
    platform: Platform, principal: Principal, action: str, request: Request
) -> AsyncIterator[None]:
    """Leave a record of what the principal is refused within the block, unless there is one."""
    try:
        yield
    except Forbidden as error:
        if not error.recorded:
            await platform.audit.record(refused(principal, action, request.url.path[:300]))
        raise


async def _lines(items: AsyncIterator[BaseModel]) -> AsyncIterator[bytes]:
    async for item in items:
        yield f"{item.model_dump_json()}\n".encode()


def params_of(model: type[ModelT], request: Request) -> ModelT:
    """The parameters of the path and the query together; raises `InvalidInput`."""
    query = request.query_params
    for name in query:
        if len(query.getlist(name)) > 1:
            raise InvalidInput(f"{name} is given twice", (Violation(name, "is given twice"),))
        if name in request.path_params:
            raise InvalidInput(f"{name} belongs to the path", (Violation(name, "belongs to the path"),))
    given = {**query, **{name: str(value) for name, value in request.path_params.items()}}
    return _validated(lambda: model.model_validate_strings(given, strict=True), "")


async def _body(endpoint: AnyEndpoint, request: Request) -> BaseModel:
    if endpoint.body is NoBody:
        return NoBody()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidInput(
            "send the body as application/json", (Violation("content-type", "must be application/json"),)
        )
    raw = await request.body()
    content = loads(raw)
    if not isinstance(content, dict):
        raise InvalidInput("the body must be an object", (Violation("body", "must be an object"),))
    body: BaseModel = _validated(lambda: endpoint.body.model_validate_json(raw, strict=True), "body.")
    return body


def _validated(validate: Callable[[], ModelT], prefix: str) -> ModelT:
    try:
        return validate()
    except ValidationError as error:
        violations = tuple(
            Violation(prefix + ".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()
        )
        raise InvalidInput("; ".join(f"{v.where}: {v.problem}" for v in violations), violations) from None
