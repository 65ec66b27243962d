"""Reading what was kept of a cut result: by lines, by a pattern, by a JSON path."""

from uuid import UUID

from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import NotFound
from devops_mcp.models.principals import Principal
from devops_mcp.operations.json_path import JsonPaths
from devops_mcp.repositories.database import Database

MAX_LINE = 2_000


class ResultService:
    """Kept results, for those who were given their handles."""

    def __init__(self, database: Database, paths: JsonPaths | None = None, *, now: Clock = utc_now) -> None:
        self._database = database
        self._paths = paths or JsonPaths()
        self._now = now

    async def lines(self, principal: Principal, handle: UUID, json_path: str | None) -> list[str]:
        """The kept JSON, or the part that `json_path` selects, as indented lines.

        Raises `NotFound` when it has expired or is another's, `InvalidInput` as `JsonPaths.select` does.
        """
        body = await self._body(principal, handle)
        text = body if json_path is None else await self._paths.select(body, json_path)
        return [line[:MAX_LINE] for line in text.split("\n")]

    async def _body(self, principal: Principal, handle: UUID) -> str:
        async with self._database.transaction(principal.tenant_id) as tx:
            kept = await tx.results.find(handle, principal.id, self._now())
        if kept is None:
            raise NotFound(
                f"there is no kept result {handle}; results are kept for a limited time: call the tool again"
            )
        return kept.body
