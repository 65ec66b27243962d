"""Replays of stored events."""

from uuid import UUID

from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.models.replays import Replay, ReplayDraft
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody, NoParams
from rest_api.listing import ByAge

TAG = "events"


class ReplayPage(ByAge):
    """A page of replays, newest first. `cursor` is `next_cursor` of the page before."""


class OneReplay(Model):
    replay_id: UUID


async def start_event_replay(call: Call[NoParams, ReplayDraft]) -> Replay:
    """Hand stored events of a range once more to one consumer, oldest first: 10,000 at most.

    `webhook` delivers them to an endpoint, as deliveries of their own whose bodies hold `replay_id`; `processing` makes them searchable
    and records facts of them anew, and neither tells anybody nor sets anything going. It goes on in the background.
    """
    return await call.platform.event_replays.start(call.principal, call.body)


async def list_event_replays(call: Call[ReplayPage, NoBody]) -> Page[Replay]:
    """List replays, newest first unless `sort` says otherwise, with how far they are. They are kept for 90 days."""
    return await call.platform.event_replays.page(
        call.principal, order=call.params.order, limit=call.params.limit
    )


async def get_event_replay(call: Call[OneReplay, NoBody]) -> Replay:
    """Get one replay with how far it is."""
    return await call.platform.event_replays.get(call.principal, call.params.replay_id)


async def cancel_event_replay(call: Call[OneReplay, NoBody]) -> Replay:
    """Hand no more events on. What was handed on stays so."""
    return await call.platform.event_replays.cancel(call.principal, call.params.replay_id)


_ALL = "/api/v1/events/replays"
_ONE = f"{_ALL}/{{replay_id}}"
EVENT_REPLAYS: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", _ALL, TAG, start_event_replay, Replay, body=ReplayDraft, status=202, errors=(404, 409)),
    Endpoint("GET", _ALL, TAG, list_event_replays, Page[Replay], params=ReplayPage),
    Endpoint("GET", _ONE, TAG, get_event_replay, Replay, params=OneReplay, errors=(404,)),
    Endpoint("POST", f"{_ONE}/cancel", TAG, cancel_event_replay, Replay, params=OneReplay, errors=(404,)),
)
