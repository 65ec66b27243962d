"""Events of all systems."""

import base64
from uuid import UUID

from devops_mcp.models.base import Model
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.pages import Page
from devops_mcp.operations.suite_tools import EventView, view_of_event
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody
from rest_api.listing import ByAge

TAG = "events"


class EventPage(EventsWanted, ByAge):
    """A page of events, newest first. `cursor` is `next_cursor` of the page before."""


class OneEvent(Model):
    event_id: UUID


class EventPayload(Model):
    """The bytes of a delivery: as text, or where they are no UTF-8 as base64. `size` in bytes."""

    size: int
    text: str | None = None
    base64: str | None = None


async def list_events(call: Call[EventPage, NoBody]) -> Page[EventView]:
    """List what happened in the DevOps systems, newest first unless `sort` says otherwise."""
    params = call.params
    page = await call.platform.suite.events.page(
        call.principal,
        params.part(EventsWanted),
        order=params.order,
        limit=params.limit,
    )
    return page.shown(view_of_event)


async def get_event(call: Call[OneEvent, NoBody]) -> EventView:
    """Get one event."""
    return view_of_event(await call.platform.suite.events.get(call.principal, call.params.event_id))


async def get_event_payload(call: Call[OneEvent, NoBody]) -> EventPayload:
    """Get what a system sent when an event was received, as it sent it."""
    body = await call.platform.suite.events.payload(call.principal, call.params.event_id)
    try:
        return EventPayload(size=len(body), text=body.decode())
    except UnicodeDecodeError:
        return EventPayload(size=len(body), base64=base64.b64encode(body).decode())


EVENTS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/events", TAG, list_events, Page[EventView], params=EventPage),
    Endpoint("GET", "/api/v1/events/{event_id}", TAG, get_event, EventView, params=OneEvent, errors=(404,)),
    Endpoint(
        "GET",
        "/api/v1/events/{event_id}/payload",
        TAG,
        get_event_payload,
        EventPayload,
        params=OneEvent,
        errors=(404,),
    ),
)
