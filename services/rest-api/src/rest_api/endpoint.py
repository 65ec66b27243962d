"""An endpoint as a value: from the same table come the routes and the OpenAPI document, so that the two cannot differ."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from devops_mcp.models.base import Model
from devops_mcp.models.errors import Forbidden, InvalidInput, Violation
from devops_mcp.models.principals import Principal
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


AnyEndpoint = Endpoint[Any, Any, Any]


def route_of(endpoint: AnyEndpoint, platform: Platform) -> Route:
    """The Starlette route that authenticates, checks, calls and answers."""

    async def serve(request: Request) -> Response:
        principal = await principal_of(request, platform.authenticator.authenticate)
        params = params_of(endpoint.params, request)
        body = await _body(endpoint, request)
        try:
            reply = await endpoint.handle(Call(platform, principal, params, body))
        except Forbidden as error:
            if not error.recorded:
                action = endpoint.handle.__name__
                await platform.audit.record(refused(principal, action, request.url.path[:300]))
            raise
        if isinstance(reply, AsyncIterator):
            return StreamingResponse(_lines(reply), endpoint.status, media_type=LINES)
        if endpoint.status == 204:
            return Response(status_code=204)
        return Response(
            orjson.dumps(reply.model_dump(mode="json")), endpoint.status, media_type="application/json"
        )

    return Route(endpoint.path, serve, methods=[endpoint.method], name=endpoint.handle.__name__)


async def _lines(items: AsyncIterator[BaseModel]) -> AsyncIterator[bytes]:
    async for item in items:
        yield orjson.dumps(item.model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE)


def params_of(model: type[ModelT], request: Request) -> ModelT:
    """The parameters of the path and the query together; raises `InvalidInput`."""
    query = request.query_params
    for name in query:
        if len(query.getlist(name)) > 1:
            raise InvalidInput(f"{name} is given twice", (Violation(name, "is given twice"),))
        if name in request.path_params:
            raise InvalidInput(f"{name} belongs to the path", (Violation(name, "belongs to the path"),))
    return _validated(model, {**query, **request.path_params}, "")


async def _body(endpoint: AnyEndpoint, request: Request) -> BaseModel:
    if endpoint.body is NoBody:
        return NoBody()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidInput(
            "send the body as application/json", (Violation("content-type", "must be application/json"),)
        )
    content = loads(await request.body())
    if not isinstance(content, dict):
        raise InvalidInput("the body must be an object", (Violation("body", "must be an object"),))
    body: BaseModel = _validated(endpoint.body, content, "body.")
    return body


def _validated(model: type[ModelT], content: Mapping[str, Any], prefix: str) -> ModelT:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        violations = tuple(
            Violation(prefix + ".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()
        )
        raise InvalidInput("; ".join(f"{v.where}: {v.problem}" for v in violations), violations) from None
