"""`make run` as a user meets it: the real servers and services. Search is lexical here, because preparing the model takes its time."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest
from redis import Redis

from devops_mcp.embedded.ports import LOOPBACK
from devops_mcp.embedded.postgres import remove_data_folder
from support.processes import descendants, wait_until_gone
from support.suite import Suite, start_suite

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("run")]
KEYS = {"rest", "mcp_http", "mcp_ws", "api_key", "postgres", "redis", "sqs", "pids"}
PROGRAMS = {"supervisor", "postgres", "redis", "sqs", "worker", "mcp-server", "rest-api"}
LEXICAL = {"DEVOPS_MCP_EMBEDDING_PROVIDER": "lexical"}


@pytest.fixture(scope="module")
def busy_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as busy:
        yield busy.getsockname()[1]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, busy_port: int) -> Iterator[Suite]:
    """One suite for the tests that leave it as it was. rest-api wanted a busy port."""
    state = tmp_path_factory.mktemp("state")
    suite = start_suite(state, LEXICAL | {"DEVOPS_MCP_REST__PORT": str(busy_port)})
    pids = everything_of(suite)
    yield suite
    assert suite.stop(signal.SIGINT) == 0
    assert wait_until_gone(pids) == []
    remove_data_folder(state / "postgres")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    remove_data_folder(tmp_path / "state" / "postgres")


def everything_of(suite: Suite) -> list[int]:
    return [suite.process.pid, *descendants(suite.process.pid)]


def test_every_address_it_wrote_answers(suite):
    addresses = suite.addresses

    assert set(addresses) >= KEYS
    assert httpx2.get(f"{addresses['rest']}/health/ready").status_code == 200
    assert httpx2.get(addresses["mcp_http"].replace("/mcp", "/health/ready")).status_code == 200
    assert httpx2.get(f"{addresses['sqs']}/health").status_code == 200
    with psycopg.connect(addresses["postgres"]) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM schema_migrations").fetchone() == (True,)
    with Redis.from_url(addresses["redis"]) as client:
        assert client.ping()


def test_the_file_names_every_process_and_is_private(suite):
    assert set(suite.pids) >= PROGRAMS
    assert set(suite.pids.values()) <= set(everything_of(suite))
    assert stat.S_IMODE((suite.state / "run.json").stat().st_mode) == 0o600


def test_the_key_it_gives_opens_the_rest_api(suite):
    url = f"{suite.addresses['rest']}/api/v1/tools"

    assert httpx2.get(url).status_code == 401
    assert httpx2.get(url, headers=suite.headers).status_code == 200


def test_the_printed_client_configuration_is_json_with_both_transports(suite):
    said = suite.said()
    servers = json.loads(said[said.index("{") : said.rindex("}") + 1])["mcpServers"]

    assert {entry["type"]: entry["url"] for entry in servers.values()} == {
        "http": suite.addresses["mcp_http"],
        "ws": suite.addresses["mcp_ws"],
    }
    assert all(entry["headers"] == suite.headers for entry in servers.values())


def test_a_busy_port_is_replaced_and_said(suite, busy_port):
    assert f":{busy_port}" not in suite.addresses["rest"]
    assert f"port {busy_port} is busy" in suite.said()


def test_a_second_start_in_the_same_folder_is_refused_and_harms_nothing(suite):
    command = [sys.executable, "-m", "devops_mcp.embedded", "run", "--state", str(suite.state)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert second.returncode == 1
    assert "in use by process" in second.stdout
    assert httpx2.get(f"{suite.addresses['rest']}/health/ready").status_code == 200
    assert suite.pids["supervisor"] == suite.process.pid


def test_a_service_that_is_killed_is_said_so_and_comes_back_at_its_address(suite):
    before = suite.pids["rest-api"]
    os.kill(before, signal.SIGKILL)
    suite.wait_until_said("rest-api is ready again")

    assert "rest-api died (killed by SIGKILL)" in suite.said()
    assert suite.pids["rest-api"] != before
    assert httpx2.get(f"{suite.addresses['rest']}/health/ready").status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_kill_9_of_the_supervisor_leaves_no_process_and_the_next_start_finds_everything(state):
    killed = start_suite(state, LEXICAL)
    with psycopg.connect(killed.addresses["postgres"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    pids = everything_of(killed)

    killed.process.kill()
    killed.process.wait()

    assert wait_until_gone(pids) == []
    again = start_suite(state, LEXICAL)
    pids = everything_of(again)
    with psycopg.connect(again.addresses["postgres"]) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    assert again.addresses["api_key"] == killed.addresses["api_key"]

    assert again.stop(signal.SIGTERM) == 0
    assert wait_until_gone(pids) == []
    assert "everything is stopped" in again.said()
    assert not (state / "run.json").exists()
