"""`deploy/postgres` makes what the embedded start makes: run by psql on a fresh cluster, and compared."""

import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from devops_mcp.embedded.ports import LOOPBACK, free_port
from devops_mcp.embedded.postgres import (
    SUPERUSER,
    PostgresServer,
    find_programs,
    remove_data_folder,
    settle_data_folder,
)
from devops_mcp.embedded.process import Child
from devops_mcp.embedded.roles import DATABASE, MCP, OWNER, REST, WORK
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.migrate import migrate

FOLDER = Path(__file__).parents[3] / "deploy" / "postgres"
PASSWORD = "development"
"""What `compose-init.sh` gives every role, and docker-compose.yml the services."""


@dataclass(frozen=True)
class Cluster:
    """A cluster on which nothing but `compose-init.sh` has run."""

    port: int

    def url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{PASSWORD}@{LOOPBACK}:{self.port}/{database}"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    data = settle_data_folder(tmp_path / "postgres")
    programs = find_programs()
    server = PostgresServer(data, free_port(), PASSWORD, programs, tmp_path / "postgres.log", scratch=True)
    await server.initialise()
    child = await Child.start(server.program())
    try:
        await child.wait_ready()
        run_init_script(tmp_path, programs, server.port)
        yield Cluster(server.port)
    finally:
        await child.stop()
        remove_data_folder(tmp_path / "postgres")


def run_init_script(folder: Path, programs: Path, port: int) -> None:
    """As the PostgreSQL image does, with the place of `roles.sql` changed."""
    script = folder / "roles.sh"
    script.write_text((FOLDER / "compose-init.sh").read_text().replace("/deploy/", f"{FOLDER}/"))
    done = subprocess.run(
        ["bash", str(script)],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "POSTGRES_USER": SUPERUSER,
            "PGHOST": LOOPBACK,
            "PGPORT": str(port),
            "PGPASSWORD": PASSWORD,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def made(superuser_url: str) -> dict[str, list[tuple[object, ...]]]:
    """What there is of ours, as the catalogue shows it."""
    queries = {
        "roles": """
            SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit
            FROM pg_roles WHERE rolname LIKE 'devops_mcp_%' ORDER BY rolname
            """,
        "memberships": """
            SELECT roleid::regrole::text, member::regrole::text, admin_option, inherit_option, set_option
            FROM pg_auth_members WHERE roleid::regrole::text LIKE 'devops_mcp_%' ORDER BY 1, 2
            """,
        "database": """
            SELECT datname, datdba::regrole::text, ARRAY(SELECT unnest(datacl)::text ORDER BY 1)
            FROM pg_database WHERE datname = 'devops_mcp'
            """,
        "ways of keeping passwords": """
            SELECT rolname, left(rolpassword, 13) FROM pg_authid WHERE rolname LIKE 'devops_mcp_%' ORDER BY rolname
            """,
    }
    with psycopg.connect(superuser_url) as connection:
        return {name: connection.execute(query.encode()).fetchall() for name, query in queries.items()}


async def test_roles_memberships_and_database_are_those_of_the_embedded_start(cluster, stack):
    assert made(cluster.url(SUPERUSER, "postgres")) == made(stack.administration_url)


async def test_the_owner_migrates_and_each_service_logs_in_to_its_part(cluster):
    await migrate(cluster.url(OWNER))
    for role in (REST, MCP):
        async with open_database(cluster.url(role), pool_size=1, application="test") as opened:
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                await tx.contexts.create(new_id(), new_id(), "from compose", {})
            assert await opened.find_api_keys("abcdefghijkl") == []
    async with open_database(cluster.url(WORK), pool_size=1, application="test") as opened:
        assert await opened.ensure_partitions(months_ahead=3) == 2
        assert await opened.tenant_ids() == [DEFAULT_TENANT_ID]
