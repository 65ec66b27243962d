"""Reading what was kept of a cut result: by lines, by a pattern, by a JSON path."""

from uuid import UUID

import jsonpath
import orjson

from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import InvalidInput, NotFound, Violation
from devops_mcp.models.principals import Principal
from devops_mcp.repositories.database import Database

MAX_LINE = 2_000


class ResultService:
    """Kept results, for those who were given their handles."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def lines(self, principal: Principal, handle: UUID, json_path: str | None) -> list[str]:
        """The kept JSON, or the part that `json_path` selects, as indented lines.

        Raises `NotFound` when it has expired or is another's, `InvalidInput` for a path that is none.
        """
        body = await self._body(principal, handle)
        text = body if json_path is None else _select(body, json_path)
        return [line[:MAX_LINE] for line in text.split("\n")]

    async def _body(self, principal: Principal, handle: UUID) -> str:
        async with self._database.transaction(principal.tenant_id) as tx:
            kept = await tx.results.find(handle, principal.id, self._now())
        if kept is None:
            raise NotFound(
                f"there is no kept result {handle}; results are kept for a limited time: call the tool again"
            )
        return kept.body


def _select(body: str, path: str) -> str:
    try:
        found = jsonpath.findall(path, orjson.loads(body))
    except jsonpath.JSONPathError as error:
        problem = f"not a JSON path (RFC 9535): {error}"
        raise InvalidInput(problem, (Violation("arguments.json_path", problem),)) from None
    return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
