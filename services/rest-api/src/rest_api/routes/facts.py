"""Facts: what was so, as of any time."""

from typing import Literal, TypeAlias

from devops_mcp.models.facts import Fact, FactQuery
from devops_mcp.models.pages import Page
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody
from rest_api.listing import Listing

TAG = "events"
FactSort: TypeAlias = Literal["-valid_from", "valid_from"]


class FactPage(FactQuery, Listing[FactSort]):
    """A page of facts. `cursor` is `next_cursor` of the page before."""

    sort: FactSort = "-valid_from"


async def list_facts(call: Call[FactPage, NoBody]) -> Page[Fact]:
    """List what was so at a time, as events told: deployed versions, firing alerts, builds, changes, scans.

    The latest begun come first unless `sort` says otherwise.

    `predicate=deployed&before_event=<an alert's event>` is what was deployed before the alert.
    """
    facts, params = call.platform.suite.facts, call.params
    return await facts.page(call.principal, params.part(FactQuery), order=params.order, limit=params.limit)


FACTS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/facts", TAG, list_facts, Page[Fact], params=FactPage, errors=(404,)),
)
