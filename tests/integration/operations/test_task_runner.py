"""A task's end, over a network that fails."""

from typing import Any, ClassVar, cast
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.tasks import NewTask, TaskStatus
from devops_mcp.operations.task_runner import LEASE, TaskRunner
from devops_mcp.operations.tools import ToolService
from devops_mcp.repositories.database import open_database
from faults.proxy import FaultProxy, a_fault_proxy
from support.services import new_key


class _Tool:
    """Has an effect outside, and the database goes away meanwhile."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self.calls = 0

    data: ClassVar[dict[str, Any]] = {"made": "an issue"}
    blocks = ()

    async def call(self, *_: object, **__: object) -> "_Tool":
        self.calls += 1
        self._proxy.refuse(4)
        return self


async def test_what_a_tool_has_done_is_kept_through_an_outage_and_not_done_again(database):
    """P01, I6: an outage in the moment in which the task ends."""
    port = urlsplit(database.worker_url).port
    assert port is not None
    owner = await _owner(database)
    async with (
        a_fault_proxy(port) as proxy,
        open_database(
            database.worker_url.replace(f":{port}/", f":{proxy.port}/"), pool_size=1, application="test"
        ) as opened,
    ):
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            task = await tx.tasks.add(
                NewTask(
                    id=new_id(),
                    owner_id=owner,
                    tool="issue_create",
                    arguments={},
                    expires_at=utc_now() + LEASE,
                )
            )
        tool = _Tool(proxy)
        assert await TaskRunner(opened, cast("ToolService", tool)).run(DEFAULT_TENANT_ID, task.id)
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            ended = await tx.tasks.find(task.id)
    assert ended is not None
    assert (ended.status, tool.calls, proxy.refused) == (TaskStatus.COMPLETED, 1, 4)
    assert ended.result is not None
    assert ended.result.data == {"made": "an issue"}


async def _owner(database) -> UUID:
    await new_key(database.owner_url)
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute("SELECT id FROM api_keys").fetchone()
    assert row is not None
    return cast("UUID", row[0])
