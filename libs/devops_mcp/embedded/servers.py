"""PostgreSQL, Redis and the queue, started together: what the services need, and all that most tests need."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from devops_mcp.embedded import postgres
from devops_mcp.embedded.ports import LOOPBACK
from devops_mcp.embedded.probes import answers_ok
from devops_mcp.embedded.process import Program
from devops_mcp.embedded.redis import RedisServer
from devops_mcp.embedded.roles import DATABASE, create_database, create_extension, create_roles
from devops_mcp.embedded.state import Secrets
from devops_mcp.embedded.supervisor import Supervisor

PROGRAMS_VARIABLE = "DEVOPS_MCP_EMBEDDED_POSTGRES_PROGRAMS"


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the started servers are."""

    postgres_port: int
    redis_url: str
    sqs_url: str
    secrets: Secrets

    def database_url(self, role: str, database: str = DATABASE) -> str:
        """The address of a database for one of the roles of `embedded.roles`, or for the superuser."""
        passwords = {
            postgres.SUPERUSER: self.secrets.postgres,
            "devops_mcp_owner": self.secrets.owner,
            "devops_mcp_rest": self.secrets.rest,
            "devops_mcp_mcp": self.secrets.mcp,
            "devops_mcp_work": self.secrets.work,
        }
        return f"postgresql://{role}:{quote(passwords[role])}@{LOOPBACK}:{self.postgres_port}/{database}"


async def start_servers(
    supervisor: Supervisor, state: Path, secrets: Secrets, ports: Mapping[str, int], *, scratch: bool = False
) -> Servers:
    """Start the three and return when they are ready, with the roles and an empty database."""
    servers = await launch_servers(supervisor, state, secrets, ports, scratch=scratch)
    await supervisor.wait_ready()
    await prepare_database(servers)
    return servers


async def launch_servers(
    supervisor: Supervisor, state: Path, secrets: Secrets, ports: Mapping[str, int], *, scratch: bool = False
) -> Servers:
    """Start the three in `state`, on the ports named `postgres`, `redis` and `sqs`, without waiting until they are ready.

    `scratch` is for tests: fast, and not safe against a crash of the machine.
    """
    cluster = _cluster(state, secrets, ports["postgres"], scratch=scratch)
    redis = RedisServer(
        state / "redis", ports["redis"], secrets.redis, state / "logs" / "redis.log", scratch=scratch
    )
    await supervisor.launch(redis.program(), sqs_program(state, ports["sqs"], scratch=scratch))
    await cluster.initialise()
    await supervisor.launch(cluster.program())
    return Servers(ports["postgres"], redis.url, f"http://{LOOPBACK}:{ports['sqs']}", secrets)


async def prepare_database(servers: Servers) -> None:
    """Make the roles and the database, once the servers are ready."""
    everywhere = servers.database_url(postgres.SUPERUSER, "postgres")
    await create_roles(everywhere, servers.secrets)
    await create_database(everywhere)
    await create_extension(servers.database_url(postgres.SUPERUSER))


def sqs_program(state: Path, port: int, *, scratch: bool = False) -> Program:
    """The queue server as a child; its journal is in the state folder."""

    async def is_ready() -> bool:
        return await answers_ok(port, "/health")

    data = state / "sqs"
    return Program(
        name="sqs",
        argv=(
            sys.executable,
            "-m",
            "devops_mcp.embedded.sqs",
            "--host",
            LOOPBACK,
            "--port",
            str(port),
            "--data",
            str(data),
            "--durability",
            "process" if scratch else "machine",
        ),
        is_ready=is_ready,
        log_file=state / "logs" / "sqs.log",
        environment=inherited_environment(),
    )


def inherited_environment() -> dict[str, str]:
    """Our environment without the settings of the suite, which a child gets from its supervisor and nowhere else."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DEVOPS_MCP_")}


def _cluster(state: Path, secrets: Secrets, port: int, *, scratch: bool) -> postgres.PostgresServer:
    given = os.environ.get(PROGRAMS_VARIABLE)
    return postgres.PostgresServer(
        data=postgres.settle_data_folder(state / "postgres"),
        port=port,
        password=secrets.postgres,
        programs=postgres.find_programs(Path(given) if given else None),
        log_file=state / "logs" / "postgres.log",
        scratch=scratch,
    )
