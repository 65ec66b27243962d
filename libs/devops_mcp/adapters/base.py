"""What an adapter is made of: values, not classes to inherit from.

A DevOps system is one `Adapter`: its settings, how to connect, its tools, its webhooks and its pollers. Everything else (MCP
tools, REST endpoints, webhook routes, readiness, metrics, the README's table, the contract tests) follows from that value.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from inspect import cleandoc, signature
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr
from pydantic.json_schema import SkipJsonSchema

from devops_mcp.adapters.polls import Origin as Origin
from devops_mcp.adapters.polls import Poller
from devops_mcp.adapters.secret_forms import SecretForm
from devops_mcp.events.model import Event
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.content import Block, Document
from devops_mcp.models.conversation import Conversation, Question
from devops_mcp.models.lists import Listed
from devops_mcp.models.results import Truncation
from devops_mcp.resilience.policies import Policies

MAX_NAME = 64
"""Clients refuse longer ones, or prefix and cut them; ours keep to 40."""
_NAME = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")


class Effect(StrEnum):
    """What a tool does to the system. `DESTRUCTIVE` loses something that cannot be brought back by the same tool."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"


class TaskSupport(StrEnum):
    """Whether a call may go on as a task of the worker when its caller can follow one, must do so, or never does."""

    NEVER = "never"
    OPTIONAL = "optional"
    REQUIRED = "required"


class Risk(StrEnum):
    """How bad a wrong call is, for the operator who grants by risk."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Params(BaseModel):
    """The arguments of a tool; unknown ones are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)

    target: str | None = Field(
        default=None, max_length=63, description="Which integration; default: the only or first one."
    )


class ReadParams(Params):
    """Arguments of a tool that reads one thing."""

    fields: tuple[str, ...] = Field(
        default=(),
        max_length=40,
        description="Only these of each item.",
    )


class ListParams(ReadParams):
    """Arguments of a tool that lists."""

    limit: int = Field(default=20, ge=1, le=100, description="Items.")
    cursor: str | None = Field(default=None, max_length=500, description="`next_cursor` of the last page.")


class WriteParams(Params):
    """Arguments of a tool that changes something."""

    idempotency_key: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Same key and arguments: done once.",
    )
    dry_run: bool = Field(default=False, description="Only say what would be done.")


class DestructiveParams(WriteParams):
    """Arguments of a tool that loses something. A caller that cannot be asked to confirm first makes a plan with `dry_run`."""

    plan: str | None = Field(
        default=None,
        min_length=1,
        max_length=1_000,
        description="The `plan` that a `dry_run` with the same arguments gave: confirms the call.",
    )


class ToolResult(BaseModel):
    """The result of a tool. Say in it what a reader needs to go on, and leave out the rest of the vendor's answer.

    `truncated` is set by the operation when the result did not fit the reader's budget; a tool leaves it alone. `blocks` is what cannot be
    said as data, such as a picture; it is shown besides the data, in order, and is no part of the JSON. `room_bytes` is what the caller
    has asked for, and holds where that is more than the reader's budget.
    """

    model_config = ConfigDict(extra="forbid")

    truncated: Truncation | None = None
    blocks: SkipJsonSchema[tuple[Block, ...]] = Field(default=(), exclude=True)
    room_bytes: SkipJsonSchema[int] = Field(default=0, exclude=True)


ItemT = TypeVar("ItemT")


class Listing(ToolResult, Generic[ItemT]):
    """A page of items. `total` where the vendor tells it."""

    items: list[ItemT]
    next_cursor: str | None = None
    total: int | None = None


class WriteResult(ToolResult):
    """What a write did, or with `dry_run` would do."""

    dry_run: bool = False
    plan: str | None = None
    """What confirms the same call without `dry_run`; set by the operation, for a tool that loses something."""
    done: str
    """One sentence: what was changed."""
    url: str | None = None
    data: dict[str, JsonValue] = Field(default_factory=dict)


ClientT = TypeVar("ClientT")
"""What an adapter's `connect` gives."""
SettingsT = TypeVar("SettingsT", bound=BaseModel)
ParamsT = TypeVar("ParamsT", bound=Params)
ResultT = TypeVar("ResultT", bound=ToolResult)


@dataclass(frozen=True, slots=True)
class Tool(Generic[ClientT, ParamsT, ResultT]):
    """One operation on a system. `run`'s docstring is what the model reads on every request: what it does and when to use it.

    A function of three parameters is given the conversation with the caller as its third.
    """

    name: str
    title: str
    params: type[ParamsT]
    result: type[ResultT]
    run: (
        Callable[[ClientT, ParamsT], Awaitable[ResultT]]
        | Callable[[ClientT, ParamsT, Conversation], Awaitable[ResultT]]
    )
    effect: Effect = Effect.READ
    risk: Risk = Risk.LOW
    cache_for: timedelta = timedelta(0)
    """How long an answer may be served again to the same integration; zero: never. Only for reads."""
    idempotent: bool = False
    """A write that may be repeated with no further effect."""
    loses: Callable[[ParamsT], bool] | None = None
    """Which calls of a destructive tool lose something, and so must be confirmed; None: all."""
    task: TaskSupport = TaskSupport.NEVER
    ask_first: Callable[[ParamsT], Mapping[str, Question]] | None = None
    """What a call asks its caller before it becomes a task; the answers are there when it runs."""
    deadline: timedelta | None = None
    """How long a call may take; None: as long as the operator lets every tool take."""
    input_schema: JsonObject | None = None
    """The JSON Schema to show where `params` cannot say it, as for a tool that is described elsewhere; None: that of `params`."""
    essential: bool = True
    """Of the suite's own tools: whether it is in the list before a caller asks for more."""
    needs_grant: bool = True
    """False: everybody may call it, since what it leads to has rights of its own."""
    relays: bool = False
    """The tool hands the call on to another one, which is what is timed, audited and shown."""
    sign_of_life: bool = False
    """A call only says that its caller lives, and comes every few seconds: unless it fails it is measured only, and it uses up no quota."""
    converses: bool = field(init=False, default=False)
    description: str = field(init=False, default="")
    """The docstring of `run`."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or len(self.name) > MAX_NAME:
            raise ValueError(
                f"tool name {self.name!r} is not words with '_' between them, of at most {MAX_NAME} characters"
            )
        if not self.run.__doc__:
            raise ValueError(f"tool {self.name} has no docstring for the model to read")
        if self.cache_for and self.effect is not Effect.READ:
            raise ValueError(f"tool {self.name} changes something and cannot be cached")
        if self.effect is not Effect.READ and not issubclass(self.params, WriteParams):
            raise ValueError(f"tool {self.name} changes something: its params must be WriteParams")
        if self.effect is Effect.DESTRUCTIVE and not issubclass(self.params, DestructiveParams):
            raise ValueError(f"tool {self.name} loses something: its params must be DestructiveParams")
        object.__setattr__(self, "converses", len(signature(self.run).parameters) == 3)
        object.__setattr__(self, "description", cleandoc(self.run.__doc__))

    async def call(self, client: ClientT, params: ParamsT, conversation: Conversation) -> ResultT:
        """Run it, whichever of the two forms it has."""
        run: Callable[..., Awaitable[ResultT]] = self.run
        return await (run(client, params, conversation) if self.converses else run(client, params))


async def _nobody_listens(what: Listed) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Outside:
    """What an adapter is given of the world: the clock, which private networks the operator has opened, and the integration's policies.

    Without `policies`, a connection makes its own, whose state ends with it. An adapter whose tools, prompts or resources have changed
    says so with `changed`, and clients everywhere list them again.
    """

    private_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    now: Clock = utc_now
    policies: Policies | None = None
    changed: Callable[[Listed], Awaitable[None]] = _nobody_listens


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook as it arrived. Header names are lower case; a header that came twice is joined with a comma, as HTTP says.

    Values are their bytes read as Latin-1.
    """

    headers: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender must be told, with status 200, where our usual 202 is not enough: the proof that an address is ours."""

    body: bytes
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class WebhookSource:
    """How a system's webhooks are verified, told apart and translated.

    `verify`, `delivery_key` and `parse` do no I/O. `verify` raises `Unauthenticated`; it is given the raw body and every secret in force
    (several during a rotation), and compares in constant time. `delivery_key` is the vendor's id of the delivery; None where it has none.
    `signed_key` says whether that id is covered by the signature: where not, a replay under a new id is found by the body's digest.
    `parse` raises `InvalidInput` for a body that is not the event it claims to be, `UnsupportedFormat` for one it cannot read; it may give
    no event for what nobody needs to hear of (a ping). `secrets` are of that form.

    What comes after is for systems that ask for more, and is given what the adapter's `connect` gave:

    - `keys`: what `verify` is given in place of the integration's secrets, where it is the sender's own and must be fetched, such as a
      certificate. It is told of a delivery that nobody has verified, and raises `Unauthenticated` for one that leads elsewhere.
    - `respond`: what a verified delivery asks of us before it is stored, such as the confirmation of a subscription. A repeated
      delivery asks again.
    - `handshake`: the headers of the answer to an OPTIONS request by which a sender asks leave to deliver, given that request's; raises
      `Forbidden` or `InvalidInput`. Nobody has proved anything by such a request, and by its answer nobody is let in.
    """

    verify: Callable[[Delivery, tuple[SecretStr, ...]], None]
    delivery_key: Callable[[Delivery], str | None]
    parse: Callable[[Delivery, Origin], tuple[Event, ...]]
    signed_key: bool = False
    max_body_bytes: int = 1_048_576
    secrets: SecretForm = field(default_factory=SecretForm)
    keys: Callable[[Any, Delivery], Awaitable[tuple[SecretStr, ...]]] | None = None
    respond: Callable[[Any, Delivery], Awaitable[Answer | None]] | None = None
    handshake: Callable[[Any, Mapping[str, str]], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class PromptArgument(Generic[ClientT]):
    """`complete` gives values that begin as the caller has, best first."""

    name: str
    description: str
    required: bool = False
    complete: Callable[[ClientT, str], Awaitable[Sequence[str]]] | None = None


class PromptMessage(BaseModel):
    """One message of a prompt."""

    model_config = ConfigDict(frozen=True)

    role: Literal["user", "assistant"] = "user"
    content: Block


@dataclass(frozen=True, slots=True)
class Prompt(Generic[ClientT]):
    """A prepared beginning of a conversation, for a person to choose. `render` is given the arguments that the caller named."""

    name: str
    title: str
    description: str
    render: Callable[[ClientT, Mapping[str, str], Conversation], Awaitable[tuple[PromptMessage, ...]]]
    arguments: tuple[PromptArgument[ClientT], ...] = ()


@dataclass(frozen=True, slots=True)
class Resource(Generic[ClientT]):
    """Something to read at an address. `{name}` in `uri` stands for one segment, given to `read` (and to `complete`) by that name.

    `read` raises `NotFound`.
    """

    uri: str
    name: str
    title: str
    description: str
    mime_type: str
    read: Callable[[ClientT, Mapping[str, str]], Awaitable[Document]]
    complete: Mapping[str, Callable[[ClientT, str], Awaitable[Sequence[str]]]] = field(default_factory=dict)

    @property
    def is_template(self) -> bool:
        return "{" in self.uri


@dataclass(frozen=True, slots=True)
class Adapter(Generic[ClientT, SettingsT]):
    """A DevOps system.

    `connect` gives the client for one integration and closes it on exit; it must not call the system. `ping` does, cheaply, and returns
    the system's version or None; it raises an `UpstreamError`. None: nothing of the system can be called, it only calls us.
    `on_this_machine` says that it reaches what is the machine's own (files, programs): only the operator configures such an integration.
    Tools are named after the system; `any_tool_name` lets a package from elsewhere keep names that its callers know.
    """

    name: str
    title: str
    settings: type[SettingsT]
    connect: Callable[[SettingsT, Outside], AbstractAsyncContextManager[ClientT]]
    ping: Callable[[ClientT], Awaitable[str | None]] | None
    tools: tuple[Tool[ClientT, Any, Any], ...] = field(default=())
    webhooks: WebhookSource | None = None
    pollers: tuple[Poller[ClientT], ...] = ()
    prompts: tuple[Prompt[ClientT], ...] = ()
    resources: tuple[Resource[ClientT], ...] = ()
    any_tool_name: bool = False
    on_this_machine: bool = False

    def __post_init__(self) -> None:
        for tool in self.tools if not self.any_tool_name else ():
            if not tool.name.startswith(f"{self.name}_"):
                raise ValueError(f"tool {tool.name} of {self.name} must begin with '{self.name}_'")
        if len({poller.name for poller in self.pollers}) != len(self.pollers):
            raise ValueError(f"two pollers of {self.name} share a name")


AnyAdapter = Adapter[Any, Any]
AnyTool = Tool[Any, Any, Any]


class NoSettings(BaseModel):
    """The settings of a system that only calls us: there is nothing to set but the webhook secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@asynccontextmanager
async def _nothing(settings: NoSettings, outside: Outside) -> AsyncIterator[None]:
    yield None


def webhooks_only(name: str, title: str, webhooks: WebhookSource) -> Adapter[None, NoSettings]:
    """A system whose webhooks are taken in, and of which nothing else is known so far."""
    return Adapter(
        name=name, title=title, settings=NoSettings, connect=_nothing, ping=None, webhooks=webhooks
    )
