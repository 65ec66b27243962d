"""The servers the tests run against: real PostgreSQL, Redis and the queue, once per test run, apart from those of `make run`.

They run under a process of their own that ends when the pipe to its standard input closes, so that nothing is left when pytest is killed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from devops_mcp.embedded.postgres import SUPERUSER, remove_data_folder
from devops_mcp.embedded.redis import RedisServer
from devops_mcp.embedded.roles import DATABASE, OWNER
from devops_mcp.embedded.servers import Servers, start_servers
from devops_mcp.embedded.state import Secrets, load_secrets, locked_state, prepare_state, write_private
from devops_mcp.embedded.supervisor import Supervisor
from devops_mcp.models.errors import PlatformError
from devops_mcp.repositories.migrate import migrate

TEMPLATE = DATABASE
_MEMORY = Path("/dev/shm")
_MEMORY_WANTED = 4 * 2**30
_READY_WITHIN_S = 120.0
_STOP_WITHIN_S = 20.0


def _runs_folder() -> Path:
    """Where runs keep what they write: in memory where there is room, since each test makes a database; else beside the tests."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_WANTED:
        return _MEMORY / f"devops-mcp-tests-{os.getuid()}"
    return Path(__file__).parents[2] / ".test-data"


_RUNS = _runs_folder()


@dataclass(frozen=True)
class Stack:
    """Where a test run's servers are. Each xdist worker has a Redis of its own, because publish and subscribe ignore database numbers."""

    servers: Servers
    redis_urls: tuple[str, ...]

    @property
    def administration_url(self) -> str:
        return self.servers.database_url(SUPERUSER, "postgres")

    @classmethod
    def wait_for(cls, state: Path) -> "Stack":
        """Read what the stack's process has written, once it has."""
        report = _wait_for_report(state / "stack.json")
        if "error" in report:
            raise RuntimeError(f"the test servers did not start: {report['error']}")
        secrets = Secrets(**report["secrets"])
        servers = Servers(report["postgres_port"], report["redis_urls"][0], report["sqs_url"], secrets)
        return cls(servers, tuple(report["redis_urls"]))


class StackProcess:
    """The process that owns the servers; closing our end of its standard input ends it."""

    def __init__(self, redis_count: int) -> None:
        _remove_abandoned_runs()
        self.state = _RUNS / f"run-{os.getpid()}-{time.time_ns()}"
        self.state.mkdir(parents=True)
        with (self.state / "stack.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(self.state), str(redis_count)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _wait_for_report(path: Path) -> dict:
    deadline = time.monotonic() + _READY_WITHIN_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"the test servers did not start within {_READY_WITHIN_S:g} s; see {path.with_name('stack.log')}"
            )
        time.sleep(0.02)
    return json.loads(path.read_text())


def _remove_abandoned_runs() -> None:
    """Delete the folders of runs whose process is gone; one that lives holds its folder's lock."""
    for state in _RUNS.glob("run-*"):
        with contextlib.suppress(PlatformError, OSError):
            if time.time() - state.stat().st_mtime > _READY_WITHIN_S:
                with locked_state(state):
                    remove_state(state)


def remove_state(state: Path) -> None:
    """Delete a state folder, with a cluster that had to be placed outside it."""
    remove_data_folder(state / "postgres")
    shutil.rmtree(state, ignore_errors=True)


async def _serve(state: Path, redis_count: int) -> None:
    async with Supervisor(say=print) as supervisor:
        try:
            stack = await _start(supervisor, state, redis_count)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}; the logs are in {state}"
            write_private(state / "stack.json", json.dumps({"error": reason}))
            raise
        write_private(state / "stack.json", json.dumps(_report(stack)))
        await _wait_for_the_end()


async def _start(supervisor: Supervisor, state: Path, redis_count: int) -> Stack:
    names = ("postgres", "sqs", "redis", *(f"redis-{n}" for n in range(1, redis_count)))
    ports = choose_ports(dict.fromkeys(names, 0))
    secrets = load_secrets(state)
    servers = await start_servers(supervisor, state, secrets, ports, scratch=True)
    more = [
        RedisServer(
            state / name, ports[name], secrets.redis, state / "logs" / f"{name}.log", scratch=True, name=name
        )
        for name in names[3:]
    ]
    await supervisor.start(*(server.program() for server in more))
    await migrate(servers.database_url(OWNER))
    await _close_template(servers)
    return Stack(servers, (servers.redis_url, *(server.url for server in more)))


async def _close_template(servers: Servers) -> None:
    async with await psycopg.AsyncConnection.connect(
        servers.database_url(SUPERUSER, "postgres"), autocommit=True
    ) as connection:
        await connection.execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")


def _report(stack: Stack) -> dict[str, object]:
    return {
        "postgres_port": stack.servers.postgres_port,
        "redis_urls": stack.redis_urls,
        "sqs_url": stack.servers.sqs_url,
        "secrets": asdict(stack.servers.secrets),
        "address": LOOPBACK,
    }


async def _wait_for_the_end() -> None:
    """Until whoever started us closes our standard input or is gone, or we are told to stop."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    loop.remove_reader(sys.stdin.fileno())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("redis_count", type=int)
    given = parser.parse_args()
    state = prepare_state(given.state)
    with locked_state(state):
        asyncio.run(_serve(state, given.redis_count))
        remove_state(state)


if __name__ == "__main__":
    main()
