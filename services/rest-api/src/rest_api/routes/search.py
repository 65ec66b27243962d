"""Search."""

from devops_mcp.models.passages import Answer, Question
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoParams

TAG = "search"


async def search(call: Call[NoParams, Question]) -> Answer:
    """Search contexts, events and kept results by a question in your own words; best passages first, with their ranks."""
    return await call.platform.suite.search.ask(call.principal, call.body)


SEARCH: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", "/api/v1/search", TAG, search, Answer, body=Question, errors=(404,)),
)
