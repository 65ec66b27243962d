"""Subscriptions to events: resources/subscribe of the handshake era, subscriptions/listen of 2026-07-28.

Either way a subscriber names addresses, and hears of an event that lies under one: `devops://events`, those of all systems;
`devops://events/github`, one system's; `devops://events/github/acme/shop`, one repository's; `devops://events/devops-mcp`, calls of tools.
The notification says in its `_meta` which event it was and carries the trace of what brought it.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from opentelemetry.trace import SpanKind

from devops_mcp.cache.changes import ListChange
from devops_mcp.cache.notices import Notice
from devops_mcp.models.base import OWN_SYSTEM
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.lists import LISTED, Listed
from devops_mcp.models.principals import Principal
from devops_mcp.models.tasks import ENDED, Task
from devops_mcp.observability.tracing import TRACEPARENT, carry, continued
from devops_mcp.operations.change_feed import ChangeFeed, ChangeWatch
from devops_mcp.operations.feed import EventFeed, Subscription
from devops_mcp.operations.tasks import task_uri
from mcp_server.caller import principal_of
from mcp_server.handlers.resources import EVENTS, ResourceHandlers
from mcp_server.handlers.tasks import TASK_IDS, TaskHandlers
from mcp_server.plain_requests import LISTS_KEY
from mcp_server.transports.ws_resumption import Left

EVENT_META_KEY = "io.devops-mcp/event"
MAX_URIS = 100
_STATE_KEY = "devops_mcp.subscriptions"
_SUBSCRIPTION_KEY = "devops_mcp.subscription"
SUBSCRIBED_KEY = "devops_mcp.subscribed"
"""In the scope of a connection: the addresses it is subscribed to."""
LEFT_KEY = "devops_mcp.left"
"""In the scope of a connection: what its client left when it was here before."""
_FOLLOWED_KEY = "devops_mcp.tasks"


class SubscriptionHandlers:
    """Delivers events to subscribers; each hears its own tenant's only."""

    def __init__(
        self, feed: EventFeed, changes: ChangeFeed, resources: ResourceHandlers, tasks: TaskHandlers
    ) -> None:
        self._feed = feed
        self._changes = changes
        self._resources = resources
        self._tasks = tasks

    async def subscribe(
        self, ctx: ServerRequestContext[Any, Any], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """Begin to send `notifications/resources/updated` for an address on this connection."""
        principal = await principal_of(ctx)
        await self._resources.require_readable(principal, str(params.uri))
        subscribed = await self._of_connection(ctx, principal)
        if len(subscribed) >= MAX_URIS:
            raise MCPError(
                types.INVALID_PARAMS, f"a connection may subscribe to at most {MAX_URIS} addresses"
            )
        subscribed.add(_normal(str(params.uri)))
        return types.EmptyResult()

    async def unsubscribe(
        self, ctx: ServerRequestContext[Any, Any], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        subscribed: set[str] = ctx.session._connection.state.get(_STATE_KEY, set())
        subscribed.discard(_normal(str(params.uri)))
        return types.EmptyResult()

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """One stream: the acknowledgement first, then a notification for each event, until the client goes."""
        principal = await principal_of(ctx)
        uris = {_normal(uri): uri for uri in params.notifications.resource_subscriptions or ()}
        if len(uris) > MAX_URIS:
            raise MCPError(types.INVALID_PARAMS, f"a stream may subscribe to at most {MAX_URIS} addresses")
        for uri in uris:
            await self._resources.require_readable(principal, uri)
        tasks = await self._tasks.followed(ctx, params.notifications)
        lists = _wanted_lists(params.notifications)
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        async with (
            self._subscribed(principal, uris.keys()) as subscription,
            self._changes.watch(principal.tenant_id, lists, uris.keys() | tasks.keys()) as watch,
        ):
            acknowledged = _acknowledged(list(uris.values()), lists, list(tasks.values()), meta)
            await ctx.session.send_notification(acknowledged, related_request_id=ctx.request_id)
            async with _running(self._tell_changes(ctx, watch, uris, tasks, meta), "changes"):
                async for notice in subscription:
                    with _delivering(notice):
                        for uri in _addresses(notice) & uris.keys():
                            notification = _updated(uris[uri], {**meta, **_event_meta(notice)})
                            await ctx.session.send_notification(
                                notification, related_request_id=ctx.request_id
                            )
        return types.SubscriptionsListenResult(_meta=meta)

    async def _tell_changes(
        self,
        ctx: ServerRequestContext[Any, Any],
        watch: ChangeWatch,
        uris: Mapping[str, str],
        tasks: Mapping[str, str],
        meta: dict[str, Any],
    ) -> None:
        for task_id in tasks.values():  # as it stands: it may have ended before anybody listened
            await self._tell_task(ctx, task_id, meta)
        async for change in watch:
            if isinstance(change, ListChange):
                told = _list_changed(change.what, types.NotificationParams(_meta=meta))
                await ctx.session.send_notification(told, related_request_id=ctx.request_id)
                continue
            if change.uri in uris:
                updated = _updated(uris[change.uri], meta)
                await ctx.session.send_notification(updated, related_request_id=ctx.request_id)
            if change.uri in tasks:
                await self._tell_task(ctx, tasks[change.uri], meta)

    async def _tell_task(
        self, ctx: ServerRequestContext[Any, Any], task_id: str, meta: dict[str, Any]
    ) -> None:
        if (notification := await self._tasks.notification(ctx, task_id, meta)) is not None:
            await ctx.session.send_notification(notification, related_request_id=ctx.request_id)

    async def follow_task(self, ctx: ServerRequestContext[Any, Any], task: Task) -> None:
        """2025-11-25: send the statuses of a task that this connection started, until it has ended."""
        connection, uri = ctx.session._connection, task_uri(task.id)
        following: dict[str, str] | None = connection.state.get(_FOLLOWED_KEY)
        if following is None:
            following = connection.state[_FOLLOWED_KEY] = {}
            watch = await connection.exit_stack.enter_async_context(
                self._changes.watch(task.tenant_id, (), following)
            )
            await connection.exit_stack.enter_async_context(
                _running(self._push_tasks(ctx, connection, watch, following), "tasks")
            )
        following[uri] = str(task.id)

    async def _push_tasks(
        self,
        ctx: ServerRequestContext[Any, Any],
        connection: Connection,
        watch: ChangeWatch,
        following: dict[str, str],
    ) -> None:
        async for change in watch:
            if isinstance(change, ListChange) or change.uri not in following:
                continue
            status = await self._tasks.handshake_status(ctx, following[change.uri])
            if status is None or status["status"] in ENDED:
                del following[change.uri]
            if status is not None:
                await connection.notify("notifications/tasks/status", status)

    async def watch_lists(self, ctx: ServerRequestContext[Any, Any]) -> None:
        """Tell a connection of the handshake era when what it has listed changes; it need not ask for that."""
        connection = ctx.session._connection
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS or LISTS_KEY in connection.state:
            return
        connection.state[LISTS_KEY] = True
        principal = await principal_of(ctx)
        watch = await connection.exit_stack.enter_async_context(
            self._changes.watch(principal.tenant_id, LISTED)
        )
        await connection.exit_stack.enter_async_context(
            _running(_push_changes(connection, watch), "list changes")
        )

    async def resume(self, ctx: ServerRequestContext[Any, Any], params: types.NotificationParams) -> None:
        """A client of the handshake era is there: if it has been before, it is subscribed as it was and told what it missed."""
        left: Left | None = ctx.request.scope.pop(LEFT_KEY, None) if ctx.request is not None else None
        if left is None:
            return
        principal, connection = await principal_of(ctx), ctx.session._connection
        subscribed = await self._of_connection(ctx, principal)
        for uri in left.uris:
            with suppress(MCPError):  # what is gone, or no longer the client's to read, is not watched again
                await self._resources.require_readable(principal, uri)
                subscribed.add(uri)
                if not uri.startswith(EVENTS):
                    await connection.send_resource_updated(uri)
        with suppress(PlatformError):  # the feed catches up by itself when the database is back
            await self._feed.catch_up(connection.state[_SUBSCRIPTION_KEY], left.since)

    async def _of_connection(self, ctx: ServerRequestContext[Any, Any], principal: Principal) -> set[str]:
        """The addresses this connection is subscribed to; the first time, starts what delivers to it."""
        connection = ctx.session._connection
        subscribed: set[str] | None = connection.state.get(_STATE_KEY)
        if subscribed is None:
            subscribed = connection.state[_STATE_KEY] = set()
            if ctx.request is not None:
                ctx.request.scope[SUBSCRIBED_KEY] = subscribed
            subscription = connection.state[
                _SUBSCRIPTION_KEY
            ] = await connection.exit_stack.enter_async_context(self._subscribed(principal, subscribed))
            watch = await connection.exit_stack.enter_async_context(
                self._changes.watch(principal.tenant_id, (), subscribed)
            )
            for work in (_deliver(connection, subscription, subscribed), _push_changes(connection, watch)):
                await connection.exit_stack.enter_async_context(_running(work, "delivery"))
        return subscribed

    @asynccontextmanager
    async def _subscribed(self, principal: Principal, uris: Iterable[str]) -> AsyncIterator[Subscription]:
        def matches(notice: Notice) -> bool:
            return not _addresses(notice).isdisjoint(uris)

        try:
            async with self._feed.subscribe(principal.tenant_id, matches) as subscription:
                yield subscription
        except PlatformError as error:
            raise MCPError(types.INTERNAL_ERROR, error.message) from None


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _push_changes(connection: Connection, watch: ChangeWatch) -> None:
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for change in watch:
            if isinstance(change, ListChange):
                await connection.notify(f"notifications/{change.what}/list_changed", None)
            else:
                await connection.send_resource_updated(change.uri)


def _list_changed(
    what: Listed, params: types.NotificationParams
) -> (
    types.ToolListChangedNotification
    | types.PromptListChangedNotification
    | types.ResourceListChangedNotification
):
    if what == "tools":
        return types.ToolListChangedNotification(params=params)
    if what == "prompts":
        return types.PromptListChangedNotification(params=params)
    return types.ResourceListChangedNotification(params=params)


async def _deliver(connection: Connection, subscription: Subscription, uris: set[str]) -> None:
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for notice in subscription:
            with _delivering(notice):
                for uri in _addresses(notice) & uris:
                    await connection.send_resource_updated(uri, meta=_event_meta(notice))


def _delivering(notice: Notice) -> Any:
    """The span of a delivery, in the trace that began with the webhook."""
    carrier = {TRACEPARENT: notice.traceparent} if notice.traceparent else {}
    return continued(carrier, "notify agent", SpanKind.PRODUCER, {"event.type": notice.type})


def _addresses(notice: Notice) -> set[str]:
    """The addresses that an event lies under."""
    system = f"{EVENTS}/{notice.system}"
    of_all = set() if notice.system == OWN_SYSTEM else {EVENTS}
    return {system, f"{system}/{notice.subject}", *of_all}


def _normal(uri: str) -> str:
    return uri.rstrip("/")


def _event_meta(notice: Notice) -> dict[str, Any]:
    event = {"id": str(notice.event_id), "type": notice.type, "title": notice.title, "uri": notice.uri}
    return {EVENT_META_KEY: event, **carry()}


def _updated(uri: str, meta: dict[str, Any]) -> types.ResourceUpdatedNotification:
    params = types.ResourceUpdatedNotificationParams(uri=uri, _meta=meta)
    return types.ResourceUpdatedNotification(params=params)


def _wanted_lists(wanted: types.SubscriptionFilter) -> frozenset[Listed]:
    asked: dict[Listed, bool | None] = {
        "tools": wanted.tools_list_changed,
        "prompts": wanted.prompts_list_changed,
        "resources": wanted.resources_list_changed,
    }
    return frozenset(what for what in LISTED if asked[what])


def _acknowledged(
    uris: list[str], lists: frozenset[Listed], task_ids: list[str], meta: dict[str, Any]
) -> types.SubscriptionsAcknowledgedNotification:
    of_tasks: dict[str, Any] = {TASK_IDS: task_ids} if task_ids else {}
    honored = types.SubscriptionFilter(
        **of_tasks,
        resource_subscriptions=uris or None,
        tools_list_changed="tools" in lists or None,
        prompts_list_changed="prompts" in lists or None,
        resources_list_changed="resources" in lists or None,
    )
    params = types.SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
    return types.SubscriptionsAcknowledgedNotification(params=params)
