"""An endpoint as a value: from the same table come the routes and the OpenAPI document, so that the two cannot differ."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect, Request

from devops_mcp.models.base import Model
from devops_mcp.models.errors import MalformedInput
from devops_mcp.models.pages import WrittenPage
from devops_mcp.models.principals import Principal
from devops_mcp.operations.platform import Platform
from devops_mcp.repositories.transaction import Transaction
from rest_api.once import Streamed
from rest_api.sparse import FIELDS, names_of

JSON = "application/json"
LINES = "application/x-ndjson"
BINARY = "application/octet-stream"


class NoParams(Model):
    """An endpoint that takes none."""


class NoBody(Model):
    """An endpoint without a request body."""


class Nothing(Model):
    """An answer without a body: 204."""


class Raw(BaseModel):
    """A request body that is taken as it is."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    request: Request
    streamed: Streamed | None = None
    """Where the request is marked: what sums its body up."""

    @property
    def media_type(self) -> str:
        return self.request.headers.get("content-type", BINARY)[:200]

    async def content(self) -> bytes:
        """All of it."""
        return await self.request.body()

    async def chunks(self) -> AsyncIterator[bytes]:
        """As it comes; once. Raises `MalformedInput` where it ends before it is whole."""
        stream = self.request.stream() if self.streamed is None else self.streamed.chunks()
        try:
            async for chunk in stream:
                yield chunk
        except ClientDisconnect:
            raise MalformedInput("the body ended before it was whole") from None


class File(Model):
    """An answer that is a file."""

    name: str
    media_type: str
    content: bytes


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
    """A method on a path. The handler's docstring is its description.

    `errors` are the statuses that it answers beside those of every endpoint (400, 401, 403, 413, 414, 422, 429, 431, 503, 504).
    """

    method: str
    path: str
    tag: str
    handle: Callable[[Call[ParamsT, BodyT]], Awaitable[ReplyT | AsyncIterator[ReplyT] | WrittenPage]]
    reply: type[ReplyT]
    """What it answers; `WrittenPage` stands for the `Page` that is named here."""
    params: type[ParamsT] = cast("type[ParamsT]", NoParams)  # noqa: RUF009 - a class, not an instance
    body: type[BodyT] = cast("type[BodyT]", NoBody)  # noqa: RUF009
    status: int = 200
    errors: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    """Of errors, beside those that follow from what else is said of it."""
    lines: bool = False
    """The handler answers an iterator, which is sent as JSON Lines; `reply` is what a line holds."""
    open: bool = False
    """It takes no credential, as what gives one; the call's principal is then nobody."""
    takes: str = JSON
    """Of a `Raw` body: what it is, as far as the document says."""
    secret: bool = False
    """What it answers is shown this once: it is neither stored by caches nor compressed."""
    leased: bool = False
    """Of a POST: what it does is more than one transaction of the caller's tenant, so an `Idempotency-Key` is claimed before."""
    lock: Callable[[Transaction, ParamsT], Awaitable[object]] | None = None
    """Of a PUT: keeps others off the row until the transaction ends. Its path takes PATCH then, unless all of its body is `writeOnly`."""
    tenant: Callable[[ParamsT], UUID] | None = None
    """Goes with `lock`: whose row it is, where it is not the caller's own tenant's."""
    needs: str = ""
    """Goes with `lock`: the permission that is looked for before the row is, `{}` being parameters; none where it depends on the row."""
    made_at: str = ""
    """Of a POST: the path of what it makes, `{}` being its fields or parameters; the table says it of what is found below its own path."""
    rest: str = ""
    """The parameter that ends the path and may hold slashes, as they are or as `%2F`."""
    read: Callable[[Call[ParamsT, NoBody]], Awaitable[BaseModel]] | None = None
    """What GET on the path answers: the table says it of what changes it."""

    @property
    def needs_body(self) -> bool:
        """Whether a request must have one. Of a POST whose body only narrows down what is done, it may be left out."""
        return self.method != "POST" or any(part.is_required() for part in self.body.model_fields.values())

    @property
    def route(self) -> str:
        """What it is known by: `GET /api/v1/contexts`."""
        return f"{self.method} {self.path}"

    @property
    def conditional(self) -> bool:
        """Whether it changes something that is there, and so holds to what `If-Match` and `If-None-Match` say of it."""
        return self.method in ("PUT", "PATCH", "DELETE")

    @property
    def takes_key(self) -> bool:
        """Whether it takes an `Idempotency-Key`; that belongs to a principal, so nobody has one."""
        return self.method == "POST" and not self.open

    @property
    def pages(self) -> bool:
        """Whether it answers page by page: clients see its cursors signed, bound to the tenant and to what else is asked."""
        return "cursor" in self.params.model_fields

    @property
    def fields(self) -> tuple[str, ...]:
        """What `fields=` may name; nothing where it is not taken."""
        sparse = self.method == "GET" and self.status == 200 and not self.lines and self.reply is not File
        return names_of(self.reply) if sparse and FIELDS not in self.params.model_fields else ()


AnyEndpoint = Endpoint[Any, Any, Any]


def unversioned(reply: type[BaseModel]) -> frozenset[str]:
    """What in such an answer changes by itself."""
    return reply.UNVERSIONED if issubclass(reply, Model) else frozenset()
