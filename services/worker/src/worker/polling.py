"""The loops that poll: one for each poller of each integration, in every worker; the database lets one of them look at a time."""

import asyncio
from collections import defaultdict
from typing import NamedTuple
from uuid import UUID

import structlog

from devops_mcp.models.errors import PlatformError
from devops_mcp.operations.integrations import Integration, Integrations, Polling
from devops_mcp.operations.polling import DEADLINE_S, LOOK_AGAIN_S, Look, PollRunner
from worker.stopping import unless_stopped

log = structlog.get_logger()

AT_ONCE, OF_ONE_TENANT = 32, 4
"""Looks under way in one worker: systems that hang take no room from other tenants' systems."""
REVIEW_S = 1.0
"""How soon a loop begins or ends after its integration has come, changed or gone."""


class _Name(NamedTuple):
    """Of a loop: one version of an integration has its own."""

    tenant_id: UUID
    integration: str
    stamp: str
    poller: str


class Pollings:
    """Runs until it is told to stop; a look that is under way then is given up, and its turn given back."""

    def __init__(self, runner: PollRunner, integrations: Integrations) -> None:
        self._runner = runner
        self._integrations = integrations
        self._room = asyncio.Semaphore(AT_ONCE)
        self._rooms: defaultdict[UUID, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(OF_ONE_TENANT)
        )
        self._loops: dict[_Name, asyncio.Task[None]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                self._review(tasks, stop)
                await unless_stopped(stop, asyncio.sleep(REVIEW_S))

    def _review(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Begin the loops that are wanted, and end those that are not any more."""
        wanted = {
            _Name(i.tenant_id, i.name, i.stamp, polling.poller.name): (i, polling)
            for i in self._integrations.all_for_polling()
            for polling in i.pollings
        }
        for name in self._loops.keys() - wanted.keys():
            self._loops.pop(name).cancel()
        for name in wanted.keys() - self._loops.keys():
            loop = self._keep_polling(*wanted[name], stop)
            self._loops[name] = tasks.create_task(loop, name=f"poll {name.integration} {name.poller}")

    async def _keep_polling(self, integration: Integration, polling: Polling, stop: asyncio.Event) -> None:
        while not stop.is_set():
            wait_s = await unless_stopped(stop, self._turn(integration, polling))
            await unless_stopped(stop, asyncio.sleep(wait_s or 0.0))

    async def _turn(self, integration: Integration, polling: Polling) -> float:
        """Look if it is our turn; the seconds until the next one."""
        try:
            async with self._rooms[integration.tenant_id], self._room:
                look = await self._runner.claim(integration, polling)
                return await self._look(look) if isinstance(look, Look) else look
        except PlatformError as error:
            log.warning("poller not run", integration=integration.name, code=error.code, reason=error.message)
            return LOOK_AGAIN_S

    async def _look(self, look: Look) -> float:
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._runner.make(look)
        except asyncio.CancelledError:
            await asyncio.shield(self._runner.release(look))
            raise
        except Exception as error:  # noqa: BLE001 - the worker loop: one system's fault must not end it
            return await self._runner.fail(look, error)
