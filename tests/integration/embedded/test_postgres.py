"""Runs against the real programs of the installed wheel."""

import os
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from devops_mcp.embedded import postgres
from devops_mcp.embedded.ports import LOOPBACK, free_port
from devops_mcp.embedded.postgres import SUPERUSER, PostgresServer, find_programs, settle_data_folder
from devops_mcp.embedded.process import Child
from devops_mcp.models.errors import ConfigurationError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    data = settle_data_folder(tmp_path / "postgres")
    yield PostgresServer(
        data, free_port(), "secret", find_programs(), tmp_path / "postgres.log", scratch=True
    )
    postgres.remove_data_folder(tmp_path / "postgres")


@asynccontextmanager
async def running(server: PostgresServer) -> AsyncIterator[Child]:
    await server.initialise()
    child = await Child.start(server.program())
    try:
        await child.wait_ready()
        yield child
    finally:
        await child.stop()


async def connect(server: PostgresServer, password: str = "secret") -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(
        host=LOOPBACK, port=server.port, user=SUPERUSER, password=password, dbname="postgres", autocommit=True
    )


async def test_it_is_ready_for_queries_with_pgvector_and_sorts_the_same_everywhere(server):
    async with running(server), await connect(server) as connection:
        await connection.execute("CREATE EXTENSION vector")
        distance = await (await connection.execute("SELECT '[1,2]'::vector <-> '[1,3]'::vector")).fetchone()
        collation = "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template1'"
        locale = await (await connection.execute(collation)).fetchone()

    assert distance == (1.0,)
    assert locale == ("b", "C.UTF-8", "UTF8")


async def test_a_wrong_password_is_refused(server):
    async with running(server):
        with pytest.raises(psycopg.OperationalError, match="password"):
            await connect(server, "wrong")


async def test_what_was_committed_survives_kill_9(server):
    server = replace(server, scratch=False)
    async with running(server) as child:
        async with await connect(server) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()

    async with running(server), await connect(server) as connection:
        assert await (await connection.execute("SELECT one FROM kept")).fetchone() == (1,)


async def test_it_stops_in_order_while_a_client_is_connected(server):
    async with running(server) as child, await connect(server):
        await child.stop()

    assert child.exit_code == 0


async def test_an_interrupted_first_start_is_begun_anew(server):
    unfinished = server.data.with_name(f"{server.data.name}.new")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")

    async with running(server), await connect(server) as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
class TestAsRoot:
    async def test_the_server_runs_as_nobody(self, server):
        async with running(server) as child:
            owner = Path(f"/proc/{child.pid}").stat().st_uid

        assert owner == 65534

    async def test_data_that_nobody_could_not_reach_is_placed_elsewhere_and_found_again(self, tmp_path):
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)

        first = settle_data_folder(closed / "postgres")

        assert not first.is_relative_to(tmp_path)
        assert settle_data_folder(closed / "postgres") == first

    async def test_programs_that_nobody_could_not_reach_are_copied_where_only_root_writes(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(postgres, "reachable", lambda path: False)
        monkeypatch.setattr(postgres.tempfile, "tempdir", str(tmp_path))

        programs = find_programs()

        copied = tmp_path / programs.relative_to(tmp_path).parts[0]
        assert stat.S_IMODE(copied.stat().st_mode) == 0o755
        assert (programs / "postgres").stat().st_uid == 0
        assert find_programs() == programs

    async def test_a_prepared_folder_of_somebody_else_is_not_trusted(self, tmp_path, monkeypatch):
        monkeypatch.setattr(postgres, "reachable", lambda path: False)
        monkeypatch.setattr(postgres.tempfile, "tempdir", str(tmp_path))
        expected = tmp_path / find_programs().relative_to(tmp_path).parts[0]
        os.chown(expected, 65534, 65534)

        assert not find_programs().is_relative_to(expected)


def test_a_given_folder_without_the_programs_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no program named postgres"):
        find_programs(tmp_path)
