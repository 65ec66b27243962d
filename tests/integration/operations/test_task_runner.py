"""A task's end, over a network that fails."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, cast
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.tasks import NewTask, Task, TaskStatus
from devops_mcp.operations.task_runner import TaskRunner
from devops_mcp.operations.tools import ToolService
from devops_mcp.repositories.database import Database, open_database
from faults.proxy import FaultProxy, Hold, a_fault_proxy
from support.services import new_key


class _Tool:
    """Has an effect outside, while something else happens."""

    data: ClassVar[dict[str, Any]] = {"made": "an issue"}
    blocks = ()

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile
        self.calls = 0

    async def call(self, *_: object, **__: object) -> "_Tool":
        self.calls += 1
        self._meanwhile()
        return self


@dataclass
class Bench:
    database: Database
    proxy: FaultProxy
    owner_id: UUID

    async def task(self) -> UUID:
        expires = utc_now() + timedelta(hours=1)
        new = NewTask(
            id=new_id(), owner_id=self.owner_id, tool="issue_create", arguments={}, expires_at=expires
        )
        async with self.database.transaction(DEFAULT_TENANT_ID) as tx:
            return (await tx.tasks.add(new, new_id())).id

    async def run(self, tool: object, task_id: UUID) -> bool:
        runner = TaskRunner(self.database, cast("ToolService", tool))
        return await runner.run(DEFAULT_TENANT_ID, task_id, new_id())

    async def found(self, task_id: UUID) -> Task:
        async with self.database.transaction(DEFAULT_TENANT_ID) as tx:
            task = await tx.tasks.find(task_id)
        assert task is not None
        return task


@pytest_asyncio.fixture
async def bench(database) -> AsyncIterator[Bench]:
    port = urlsplit(database.worker_url).port
    assert port is not None
    owner_id = await _owner(database)
    async with (
        a_fault_proxy(port) as proxy,
        open_database(
            database.worker_url.replace(f":{port}/", f":{proxy.port}/"),
            pool_size=1,
            application="test",
            answer_s=1.5,
        ) as opened,
    ):
        yield Bench(opened, proxy, owner_id)


async def test_what_a_tool_has_done_is_kept_through_an_outage_and_not_done_again(bench):
    """P01, I6: an outage in the moment in which the task ends."""
    task_id, tool = await bench.task(), _Tool(lambda: bench.proxy.refuse(4))
    assert await bench.run(tool, task_id)
    ended = await bench.found(task_id)
    assert (ended.status, tool.calls, bench.proxy.refused) == (TaskStatus.COMPLETED, 1, 4)
    assert ended.result is not None
    assert ended.result.data == {"made": "an issue"}


async def test_a_task_whose_claim_was_not_confirmed_is_free_for_the_next_delivery(bench):
    """P02, D01: the claim was committed, and its answer lost."""
    task_id, tool = await bench.task(), _Tool(lambda: None)
    bench.proxy.trap(b"COMMIT", Hold.AFTER, after=b"UPDATE tasks SET attempt")
    with pytest.raises(Unavailable):
        await bench.run(tool, task_id)
    assert await bench.run(tool, task_id)
    ended = await bench.found(task_id)
    assert (ended.status, ended.attempt, tool.calls) == (TaskStatus.COMPLETED, 1, 1)


async def _owner(database) -> UUID:
    await new_key(database.owner_url)
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute("SELECT id FROM api_keys").fetchone()
    assert row is not None
    return cast("UUID", row[0])
