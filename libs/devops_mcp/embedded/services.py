"""The three services as programs, told by environment variables alone where everything is."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devops_mcp.embedded.copies import copied
from devops_mcp.embedded.ports import LOOPBACK
from devops_mcp.embedded.probes import answers_ok
from devops_mcp.embedded.process import Program
from devops_mcp.embedded.roles import MCP, REST, WORK
from devops_mcp.embedded.servers import Servers
from devops_mcp.embedded.terminal import TerminalLog

SERVICES = {"worker": ("worker", WORK), "mcp": ("mcp_server", MCP), "rest": ("rest_api", REST)}
"""The section of the settings that a service listens by; its module; its role in the database. In the order of their start."""
LEVEL_VARIABLE = "DEVOPS_MCP_EMBEDDED_SHOW_LEVEL"
_DRAIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Place:
    """What the services are told."""

    state: Path
    servers: Servers
    ports: Mapping[str, int]
    config_file: Path
    master_key: str


def service_programs(place: Place) -> list[Program]:
    """The services in the order of their start. The intake is last, so that it is the first to stop."""
    common = _environment(place)
    return [
        _program(
            section, module, common | {"DEVOPS_MCP_DATABASE_URL": place.servers.database_url(role)}, place
        )
        for section, (module, role) in SERVICES.items()
    ]


def github_stand_in_program(state: Path, port: int) -> Program:
    """The stand-in for GitHub."""
    return Program(
        name="github stand-in",
        argv=(sys.executable, "-m", "devops_mcp.embedded.github_stand_in", "--port", str(port)),
        is_ready=partial(answers_ok, port, "/rate_limit"),
        log_file=state / "logs" / "github-stand-in.log",
    )


def _program(section: str, module: str, environment: Mapping[str, str], place: Place) -> Program:
    name = module.replace("_", "-")
    return Program(
        name=name,
        argv=(sys.executable, "-m", module),
        main=copied(module),
        is_ready=partial(answers_ok, place.ports[section], "/health/ready"),
        log_file=place.state / "logs" / f"{name}.log",
        environment=environment,
        ready_within_s=60,
        stop_within_s=_DRAIN_S + 5,
        on_output=TerminalLog(name, level=os.environ.get(LEVEL_VARIABLE, "warning").lower()),
    )


def _environment(place: Place) -> dict[str, str]:
    """The caller's environment, so that any setting can be given, with ours where the embedded parts decide."""
    listening = {f"DEVOPS_MCP_{section.upper()}__PORT": str(place.ports[section]) for section in SERVICES}
    hosts = {f"DEVOPS_MCP_{section.upper()}__HOST": LOOPBACK for section in SERVICES}
    return {
        **os.environ,
        "DEVOPS_MCP_ENVIRONMENT": "embedded",
        "DEVOPS_MCP_REDIS_URL": place.servers.redis_url,
        "DEVOPS_MCP_MASTER_KEYS": json.dumps([place.master_key]),
        "DEVOPS_MCP_SQS_ENDPOINT_URL": place.servers.sqs_url,
        "DEVOPS_MCP_CONFIG_FILE": str(place.config_file),
        "DEVOPS_MCP_LOG_FORMAT": "json",
        **hosts,
        **listening,
    }
