"""The dead letters, as each tenant's operator sees them and sends them again."""

from collections.abc import Sequence
from dataclasses import dataclass

from devops_mcp.events.queues import QueueName
from devops_mcp.models.dead_letters import DeadLetter
from devops_mcp.models.pages import NEWEST
from devops_mcp.models.principals import Principal
from devops_mcp.operations.dead_letters import DeadLetterService
from devops_mcp.repositories.database import Database


@dataclass(frozen=True)
class Filed:
    """A letter, and who may send it again."""

    letter: DeadLetter
    operator: Principal


class Letters:
    """Those of the operators' tenants."""

    def __init__(self, database: Database, operators: Sequence[Principal]) -> None:
        self._service = DeadLetterService(database)
        self._operators = operators

    async def about(self, event_id: str) -> list[Filed]:
        """Of messages that name the event."""
        return [
            Filed(letter, operator)
            for operator in self._operators
            for letter in await self._all(operator)
            if event_id in (letter.body or "")
        ]

    async def send_again(self, filed: Filed) -> None:
        await self._service.redrive(filed.operator, filed.letter.id)

    async def _all(self, operator: Principal) -> list[DeadLetter]:
        page = await self._service.page(operator, queue=QueueName.EVENTS, order=NEWEST, limit=100)
        return [await self._service.get(operator, summary.id) for summary in page.items]
