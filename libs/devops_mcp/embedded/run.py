"""`make run`: the servers, then the services; all of them, or none."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from devops_mcp.config import Environment, Settings, load_settings_of_a_command
from devops_mcp.embedded.announcement import Announcement
from devops_mcp.embedded.demo_config import CONFIG_VARIABLE, configuration_file, needs_github_stand_in
from devops_mcp.embedded.model import prepare_model
from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from devops_mcp.embedded.servers import launch_servers
from devops_mcp.embedded.services import Place, github_stand_in_program, service_programs
from devops_mcp.embedded.state import Secrets, load_secrets, locked_state, prepare_state
from devops_mcp.embedded.supervisor import Supervisor
from devops_mcp.embedded.terminal import say
from devops_mcp.models.errors import PlatformError

_SERVER_PORTS = {"postgres": 54_320, "redis": 63_790, "sqs": 9_324, "github": 9_380}
_Result = TypeVar("_Result")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(state: Path, begun: float) -> int:
    """Run the suite in the folder until told to stop; return the exit code. What goes wrong is said, not raised.

    `begun` is when the process did, by the monotonic clock.
    """
    try:
        state = prepare_state(state)
        with locked_state(state):
            asyncio.run(_until_told_to_stop(state, begun))
    except PlatformError as error:
        say(f"\n{error}")
        return 1
    return 0


async def _until_told_to_stop(state: Path, begun: float) -> None:
    suite = asyncio.create_task(_run_suite(state, begun))
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


async def _run_suite(state: Path, begun: float) -> None:
    """Start everything, tell where it is, and keep it running; however this ends, everything it started is stopped."""
    (state / "run.json").unlink(missing_ok=True)
    settings = load_settings_of_a_command({"environment": Environment.EMBEDDED})
    try:
        async with Supervisor(say=say) as supervisor:
            announcement = await _start_suite(supervisor, state, settings)
            supervisor.changed = lambda: announcement.write(_pids(supervisor))
            supervisor.changed()
            say(announcement.text(time.monotonic() - begun))
            await supervisor.watch()
    finally:
        (state / "run.json").unlink(missing_ok=True)


async def _start_suite(supervisor: Supervisor, state: Path, settings: Settings) -> Announcement:
    """Start the servers, make what the services need, and start the services; return when all are ready."""
    secrets, ports = load_secrets(state), _choose_ports(settings)
    async with _ended_with_block(prepare_model(settings, say)) as preparing_model:
        stand_in = await _launch_github_stand_in(supervisor, state, ports)
        servers = await launch_servers(supervisor, state, secrets, ports)
        place = Place(state, servers, ports, configuration_file(state, secrets, stand_in), secrets.master_key)
        # Seconds of imports, which the servers need to start.
        services = service_programs(place)
        from devops_mcp.embedded.preparation import prepare

        await supervisor.wait_ready()
        await prepare(servers, settings)
        await preparing_model
    await supervisor.start(*services)
    return Announcement(state, servers, ports, _webhook_secrets(secrets), stand_in)


@asynccontextmanager
async def _ended_with_block(work: Coroutine[Any, Any, _Result]) -> AsyncIterator[asyncio.Task[_Result]]:
    """Work that goes on beside the block and does not outlast it."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _launch_github_stand_in(
    supervisor: Supervisor, state: Path, ports: Mapping[str, int]
) -> str | None:
    """Start the stand-in unless a GitHub is configured; its address."""
    if not needs_github_stand_in():
        return None
    await supervisor.launch(github_stand_in_program(state, ports["github"]))
    return f"http://{LOOPBACK}:{ports['github']}"


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
