"""Facts: what was so, as of any time."""

from devops_mcp.models.facts import Fact, FactQuery
from devops_mcp.models.pages import Page
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody

TAG = "events"


async def list_facts(call: Call[FactQuery, NoBody]) -> Page[Fact]:
    """List what was so at a time, as events told: deployed versions, firing alerts, builds, changes, scans; the latest begun first.

    `predicate=deployed&before_event=<an alert's event>` is what was deployed before the alert.
    """
    return await call.platform.suite.facts.page(call.principal, call.params)


FACTS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/facts", TAG, list_facts, Page[Fact], params=FactQuery, errors=(404,)),
)
