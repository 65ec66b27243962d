"""A deadline that does not run while a person is asked."""

import asyncio
from collections.abc import Mapping
from typing import Literal

from devops_mcp.models.conversation import Answer, Conversation, Level, Question
from devops_mcp.models.errors import Unanswered

ANSWER_WITHIN_S = 300.0


class PacedConversation:
    """Talks through `conversation`, and stops `deadline` for as long as an answer takes, at most `ANSWER_WITHIN_S`."""

    def __init__(self, conversation: Conversation, deadline: asyncio.Timeout) -> None:
        self._conversation = conversation
        self._deadline = deadline
        self.was_cut_off = False
        """Whether the call ended while an answer was awaited, before which nothing is done that cannot be repeated."""

    def can_answer(self, kind: Literal["form", "sampling", "roots"]) -> bool:
        return self._conversation.can_answer(kind)

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Answer]:
        """Raises `Unanswered` when nobody answers in time."""
        loop, ends = asyncio.get_running_loop(), self._deadline.when()
        left = None if ends is None else ends - loop.time()
        self._deadline.reschedule(None)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await self._conversation.ask(questions)
        except TimeoutError:
            raise Unanswered(f"nobody answered within {ANSWER_WITHIN_S:g} s") from None
        except asyncio.CancelledError:
            self.was_cut_off = True
            raise
        finally:
            self._deadline.reschedule(None if left is None else loop.time() + left)

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        await self._conversation.progress(done, total, message)

    async def log(self, level: Level, message: str) -> None:
        await self._conversation.log(level, message)

    async def let_go(self) -> None:
        await self._conversation.let_go()
