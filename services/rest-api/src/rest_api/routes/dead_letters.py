"""Dead letters: messages that the worker, or the queue itself, has given up."""

from uuid import UUID

from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import Model
from devops_mcp.models.dead_letters import DeadLetter, DeadLetterSummary
from devops_mcp.models.pages import Page
from devops_mcp.operations.dead_letters import Purged, Redriven
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import ByAge

TAG = "dead letters"


class DeadLetterPage(ByAge):
    """A page of dead letters, newest first, of this queue. `cursor` is `next_cursor` of the page before."""

    queue: QueueName | None = None


class OneDeadLetter(Model):
    dead_letter_id: UUID


class OfQueue(Body):
    queue: QueueName


async def list_dead_letters(call: Call[DeadLetterPage, NoBody]) -> Page[DeadLetterSummary]:
    """List the tenant's dead letters, newest first unless `sort` says otherwise. They are kept for 14 days."""
    params = call.params
    return await call.platform.dead_letters.page(
        call.principal, queue=params.queue, order=params.order, limit=params.limit
    )


async def get_dead_letter(call: Call[OneDeadLetter, NoBody]) -> DeadLetter:
    """Get one dead letter with its body."""
    return await call.platform.dead_letters.get(call.principal, call.params.dead_letter_id)


async def redrive_dead_letter(call: Call[OneDeadLetter, NoBody]) -> Nothing:
    """Send one message again; it has its effect once, however often it was tried before."""
    await call.platform.dead_letters.redrive(call.principal, call.params.dead_letter_id)
    return Nothing()


async def redrive_dead_letters(call: Call[NoParams, OfQueue]) -> Redriven:
    """Send the messages of one queue again, oldest first, up to 1,000 a request; ask again while there are more."""
    return await call.platform.dead_letters.redrive_all(call.principal, call.body.queue)


async def purge_dead_letter(call: Call[OneDeadLetter, NoBody]) -> Nothing:
    """Throw one dead letter away."""
    await call.platform.dead_letters.purge(call.principal, call.params.dead_letter_id)
    return Nothing()


async def purge_dead_letters(call: Call[NoParams, OfQueue]) -> Purged:
    """Throw all dead letters of one queue away."""
    return await call.platform.dead_letters.purge_all(call.principal, call.body.queue)


_ALL = "/api/v1/dead-letters"
_ONE = f"{_ALL}/{{dead_letter_id}}"
DEAD_LETTERS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", _ALL, TAG, list_dead_letters, Page[DeadLetterSummary], params=DeadLetterPage),
    Endpoint("POST", f"{_ALL}/redrive", TAG, redrive_dead_letters, Redriven, body=OfQueue),
    Endpoint("POST", f"{_ALL}/purge", TAG, purge_dead_letters, Purged, body=OfQueue),
    Endpoint("GET", _ONE, TAG, get_dead_letter, DeadLetter, params=OneDeadLetter, errors=(404,)),
    Endpoint(
        "POST",
        f"{_ONE}/redrive",
        TAG,
        redrive_dead_letter,
        Nothing,
        params=OneDeadLetter,
        status=204,
        errors=(404, 409),
    ),
    Endpoint(
        "DELETE", _ONE, TAG, purge_dead_letter, Nothing, params=OneDeadLetter, status=204, errors=(404,)
    ),
)
