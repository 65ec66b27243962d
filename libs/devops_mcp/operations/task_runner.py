"""Running tasks, in the worker: one attempt at a time, as the principal whose task it is.

It has the rights that it has now, within those of the credential that it asked with.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Literal, TypeVar
from uuid import UUID

import structlog

from devops_mcp.cache.changes import Changes
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.conversation import Answer, InputRequired, Level, Question
from devops_mcp.models.errors import (
    Internal,
    OutcomeUnknown,
    PlatformError,
    RequestInProgress,
    Unanswerable,
    Unavailable,
)
from devops_mcp.models.principals import Principal
from devops_mcp.models.tasks import Task, TaskResult, TaskStatus
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.rule_plans import DESTRUCTIVE
from devops_mcp.operations.tasks import settle_origin, tell_of_task
from devops_mcp.operations.tools import ToolService
from devops_mcp.repositories.database import Database
from devops_mcp.resilience.backoff import Backoff

T = TypeVar("T")

LEASE = timedelta(seconds=15)
"""Shorter than what is left of a message's visibility timeout when its worker dies: who is given it next must find the task free."""
HEARTBEAT_S = 2.0
"""Also how soon a running task learns that it was cancelled."""
MAX_ATTEMPTS = 5
_REPORT_EVERY_S = 0.5
PATIENCE_S = 60.0
"""So long an outcome waits for a database that is away; then the task is begun anew."""
_AGAIN = Backoff(first_s=0.4, cap_s=2.0)
log = structlog.get_logger()


class TaskConversation:
    """What a running task says is written to its row; what it asks was answered beforehand, or puts it aside until it is."""

    def __init__(self, database: Database, task: Task, *, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._task = task
        self._monotonic = monotonic
        self._reported_at = float("-inf")

    def can_answer(self, kind: Literal["form", "sampling", "roots"]) -> bool:
        return kind in self._task.answerable

    async def ask(self, questions: Mapping[str, Question]) -> Mapping[str, Answer]:
        missing = {name: q for name, q in questions.items() if name not in self._task.answers}
        for question in missing.values():
            if not self.can_answer(question.kind):
                raise Unanswerable(f"whoever asked for this task cannot answer a {question.kind}")
        if missing:
            raise InputRequired(missing)
        return {name: self._task.answers[name] for name in questions}

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Written at most twice a second, and always when it is done."""
        if self._monotonic() - self._reported_at >= _REPORT_EVERY_S or done == total:
            self._reported_at = self._monotonic()
            await self._report(done, total, message)

    async def log(self, level: Level, message: str) -> None:
        await self._report(None, None, message)

    async def let_go(self) -> None:
        """A task holds nobody's connection."""

    async def _report(self, done: float | None, total: float | None, message: str | None) -> None:
        async with self._database.transaction(self._task.tenant_id) as tx:
            await tx.tasks.report(self._task.id, self._task.attempt, done, total, message)


class TaskRunner:
    """Runs a task when its message arrives."""

    def __init__(
        self,
        database: Database,
        tools: ToolService,
        changes: Changes | None = None,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._database = database
        self._tools = tools
        self._changes = changes
        self._now = now
        self._monotonic = monotonic
        self._heartbeat_s = heartbeat_s

    async def run(self, tenant_id: UUID, task_id: UUID, message_id: UUID) -> bool:
        """Run the task of this message to its end, or to its next question; False when there was nothing to do.

        Raises what makes another attempt worth while; the task is then free to be taken again.
        """
        lease_until = self._now() + LEASE
        try:
            task, principal = await self._claim(tenant_id, task_id, lease_until, message_id)
        except Unavailable:
            # It may be ours all the same, and its message, which comes back before the lease is over, would find it taken.
            await self._insist(lambda: self._disclaim(tenant_id, task_id, lease_until))
            raise
        if task is None:
            return False
        if task.attempt - task.attempts_before > MAX_ATTEMPTS:
            await self._end(task, TaskStatus.FAILED, _failure(Internal("every attempt was broken off")))
        elif principal is None:
            gone = TaskResult(code="unauthenticated", error="who asked for this may no longer")
            await self._end(task, TaskStatus.FAILED, gone)
        else:
            await self._attempt(task, principal)
        return True

    async def _claim(
        self, tenant_id: UUID, task_id: UUID, lease_until: datetime, message_id: UUID
    ) -> tuple[Task | None, Principal | None]:
        async with self._database.transaction(tenant_id) as tx:
            task = await tx.tasks.claim(task_id, lease_until, message_id)
            if task is None:
                await tx.tasks.pass_by(task_id, message_id)
                return None, None
            owner = await tx.principals.find(task.owner_id, self._now())
            return task, None if owner is None else owner.within(task.limits)

    async def _disclaim(self, tenant_id: UUID, task_id: UUID, lease_until: datetime) -> None:
        async with self._database.transaction(tenant_id) as tx:
            await tx.tasks.disclaim(task_id, lease_until)

    async def _attempt(self, task: Task, principal: Principal) -> None:
        requester = Requester(
            principal,
            conversation=TaskConversation(self._database, task, monotonic=self._monotonic),
            context_id=task.context_id,
            confirmed=_confirmed(task, principal),
            rules=() if task.origin is None else task.origin.rules,
        )
        call = asyncio.create_task(
            self._tools.call(requester, task.tool, task.arguments, listed=False), name=f"task {task.tool}"
        )
        try:
            async with self._held(task, call):
                outcome = await call
        except InputRequired as needed:
            async with self._database.transaction(task.tenant_id) as tx:
                await tx.tasks.ask(task.id, task.attempt, needed.questions)
            await tell_of_task(self._changes, task)
        except Unavailable:
            await self._insist(lambda: self._release(task))
            raise
        except Internal as error:
            await self._end(task, TaskStatus.FAILED, _failure(error))
        except PlatformError as error:
            await self._end(task, TaskStatus.COMPLETED, _failure(_broken_off(task, error) or error))
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                await asyncio.shield(self._release(task))  # the worker stops: another one goes on
                raise
            log.info("task no longer ours", task_id=str(task.id), attempt=task.attempt)
        else:
            result = TaskResult(data=outcome.data, blocks=outcome.blocks)
            await self._end(task, TaskStatus.COMPLETED, result)

    @asynccontextmanager
    async def _held(self, task: Task, call: asyncio.Task[object]) -> AsyncIterator[None]:
        """Hold the task while the block runs; cancel its call when it is lost or cancelled."""
        keeper = asyncio.create_task(self._keep(task, call), name="keep task")
        try:
            yield
        finally:
            keeper.cancel()
            call.cancel()

    async def _keep(self, task: Task, call: asyncio.Task[object]) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                async with self._database.transaction(task.tenant_id) as tx:
                    ours = await tx.tasks.renew(task.id, task.attempt, self._now() + LEASE)
            except PlatformError as error:
                log.warning("task not held on", task_id=str(task.id), reason=error.message)
                continue
            if not ours:
                call.cancel()
                return

    async def _end(self, task: Task, status: TaskStatus, result: TaskResult) -> None:
        ended = await self._insist(lambda: self._write_end(task, status, result))
        await tell_of_task(self._changes, ended)
        if ended is None:
            log.warning("lost lease", task_id=str(task.id), attempt=task.attempt)

    async def _write_end(self, task: Task, status: TaskStatus, result: TaskResult) -> Task | None:
        async with self._database.transaction(task.tenant_id) as tx:
            ended = await tx.tasks.end(task.id, task.attempt, status, result)
            if ended is not None:
                await settle_origin(tx, ended)
        return ended

    async def _insist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write through an outage: what the tool has done would else be done again, or wait until the lease is over."""
        begun, failures = self._monotonic(), 0
        while True:
            try:
                return await write()
            except Unavailable as error:
                if self._monotonic() - begun > PATIENCE_S:
                    raise
                failures += 1
                log.warning("task waits for the database", reason=error.message)
                await asyncio.sleep(_AGAIN.delay_s(failures))

    async def _release(self, task: Task) -> None:
        async with self._database.transaction(task.tenant_id) as tx:
            await tx.tasks.release(task.id, task.attempt)


def _confirmed(task: Task, principal: Principal) -> bool:
    """Whether what the call loses was confirmed: when it was accepted, or for good by a rule's owner, who must still be allowed to."""
    return task.origin is None or (task.origin.destructive and principal.may(DESTRUCTIVE))


def _broken_off(task: Task, error: PlatformError) -> OutcomeUnknown | None:
    """What to say where an earlier attempt of ours marked the call with its key, and did not come to an answer."""
    if task.attempt == 1 or not isinstance(error, RequestInProgress | OutcomeUnknown):
        return None
    return OutcomeUnknown(
        "the call was broken off before its answer was kept: it is not known whether it was made, and it is not made again"
    )


def _failure(error: PlatformError) -> TaskResult:
    return TaskResult(code=error.code, error=error.message)
