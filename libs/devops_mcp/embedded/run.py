"""`make run`: the servers, then the services; all of them, or none."""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from devops_mcp.config import Settings, load_settings
from devops_mcp.embedded.announcement import Announcement
from devops_mcp.embedded.demo_config import CONFIG_VARIABLE, configuration_file, needs_github_stand_in
from devops_mcp.embedded.model import prepare_model
from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from devops_mcp.embedded.roles import OWNER
from devops_mcp.embedded.servers import Servers, start_servers
from devops_mcp.embedded.services import Place, github_stand_in_program, service_programs
from devops_mcp.embedded.state import Secrets, load_secrets, locked_state, prepare_state
from devops_mcp.embedded.supervisor import Supervisor
from devops_mcp.embedded.terminal import say
from devops_mcp.events.provisioning import create_queues
from devops_mcp.models.errors import PlatformError
from devops_mcp.operations.bootstrap import ensure_development_key
from devops_mcp.repositories.migrate import migrate

_SERVER_PORTS = {"postgres": 54_320, "redis": 63_790, "sqs": 9_324, "github": 9_380}
_First = TypeVar("_First")
_Second = TypeVar("_Second")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(state: Path) -> int:
    """Run the suite in the folder until told to stop; return the exit code. What goes wrong is said, not raised."""
    try:
        state = prepare_state(state)
        with locked_state(state):
            asyncio.run(_until_told_to_stop(state))
    except PlatformError as error:
        say(f"\n{error}")
        return 1
    return 0


async def _until_told_to_stop(state: Path) -> None:
    suite = asyncio.create_task(_run_suite(state))
    told = asyncio.Event()
    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({suite, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if told.is_set():
        say("\nstopping …")
        suite.cancel()
    waiting.cancel()
    try:
        await suite
    except asyncio.CancelledError:
        say("everything is stopped")


async def _run_suite(state: Path) -> None:
    """Start everything in order, tell where it is, and keep it running; however this ends, everything it started is stopped."""
    begun = time.monotonic()
    (state / "run.json").unlink(missing_ok=True)
    secrets = load_secrets(state)
    settings = load_settings({"database_url": "postgresql:///", "redis_url": "redis://"})
    ports = _choose_ports(settings)
    try:
        async with Supervisor(say=say) as supervisor:
            servers, model = await _both(
                start_servers(supervisor, state, secrets, ports), prepare_model(state, settings, say)
            )
            await _prepare(servers, settings)
            stand_in = await _start_github_stand_in(supervisor, state, ports)
            place = Place(state, servers, ports, configuration_file(state, secrets, stand_in), model)
            await supervisor.start(*service_programs(place))
            announcement = Announcement(state, servers, ports, _webhook_secrets(secrets), stand_in)
            supervisor.changed = lambda: announcement.write(_pids(supervisor))
            supervisor.changed()
            say(announcement.text(time.monotonic() - begun))
            await supervisor.watch()
    finally:
        (state / "run.json").unlink(missing_ok=True)


async def _both(
    first: Coroutine[Any, Any, _First], second: Coroutine[Any, Any, _Second]
) -> tuple[_First, _Second]:
    """Run two at once; the failure of one ends the other."""
    tasks = asyncio.create_task(first), asyncio.create_task(second)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _start_github_stand_in(supervisor: Supervisor, state: Path, ports: Mapping[str, int]) -> str | None:
    """Start the stand-in unless a GitHub is configured; its address."""
    if not needs_github_stand_in():
        return None
    await supervisor.start(github_stand_in_program(state, ports["github"]))
    return f"http://{LOOPBACK}:{ports['github']}"


async def _prepare(servers: Servers, settings: Settings) -> None:
    """What must exist before a service starts: schema, development key, queues."""
    owner_url = servers.database_url(OWNER)
    await migrate(owner_url)
    await ensure_development_key(owner_url, servers.secrets.development_key)
    await create_queues(servers.sqs_url, region=settings.aws_region, prefix=settings.queue_prefix)


def _choose_ports(settings: Settings) -> dict[str, int]:
    """A port for everything that listens: the one that is set, or a free one, which is said."""
    wanted = {"rest": settings.rest.port, "mcp": settings.mcp.port, "worker": settings.worker.port}
    for name, port in _SERVER_PORTS.items():
        wanted[name] = int(os.environ.get(f"DEVOPS_MCP_EMBEDDED_{name.upper()}_PORT", port))
    chosen = choose_ports(wanted)
    for name, port in chosen.items():
        if wanted[name] not in (0, port):
            say(f"port {wanted[name]} is busy; {name} listens on {port}")
    return chosen


def _webhook_secrets(secrets: Secrets) -> Mapping[str, str]:
    return {} if CONFIG_VARIABLE in os.environ else {"github": secrets.github_webhook}


def _pids(supervisor: Supervisor) -> dict[str, int]:
    return {"supervisor": os.getpid(), **supervisor.pids}
