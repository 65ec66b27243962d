"""Drains a dead-letter queue into PostgreSQL, whoever buried what is in it: a consumer of ours, or the queue itself."""

import asyncio
from collections.abc import Sequence

import structlog

from devops_mcp.events.queues import QueueSpec
from devops_mcp.events.sqs import Received, SqsQueue
from devops_mcp.models.errors import PlatformError
from devops_mcp.operations.dead_letters import DeadLetterFiler
from worker.stopping import unless_stopped

log = structlog.get_logger()

_AGAIN_AFTER_S = 2.0


class DeadLetterCollector:
    """Of one queue. Any number run at once; a letter that cannot be filed now stays in the queue and is delivered again."""

    def __init__(self, queue: SqsQueue, spec: QueueSpec, filer: DeadLetterFiler) -> None:
        self._dead = queue.dead_letters()
        self._spec = spec
        self._filer = filer

    async def run(self, stop: asyncio.Event) -> None:
        """Collect until `stop`; what is under way then is finished."""
        while not stop.is_set():
            try:
                if letters := await unless_stopped(
                    stop, self._dead.receive(), settled_after_s=self._dead.answering_s
                ):
                    await self._collect(letters)
            except PlatformError as error:
                log.warning(
                    "dead letters not filed", queue=self._spec.name, code=error.code, reason=error.message
                )
                await unless_stopped(stop, asyncio.sleep(_AGAIN_AFTER_S))

    async def _collect(self, letters: Sequence[Received]) -> None:
        """File them together and, when that failed through one of them, each alone; that one stays in the queue."""
        try:
            await self._filer.file(self._spec, letters)
        except PlatformError:
            raise
        except Exception:  # the worker loop: one letter's fault must not end it
            if len(letters) > 1:
                for letter in letters:
                    await self._collect([letter])
            else:
                log.exception(
                    "dead letter not filed", queue=self._spec.name, message_id=letters[0].message_id
                )
            return
        log.error("messages died", queue=self._spec.name, count=len(letters))
        if refused := await self._dead.delete_batch([letter.receipt for letter in letters]):
            log.warning("dead letters not deleted", queue=self._spec.name, count=len(refused))
