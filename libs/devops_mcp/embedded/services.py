"""The three services as programs, told by environment variables alone where everything is."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

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


def service_programs(
    state: Path, servers: Servers, ports: Mapping[str, int], config_file: Path
) -> list[Program]:
    """The services in the order of their start. The intake is last, so that it is the first to stop."""
    common = _environment(servers, ports, config_file)
    return [
        _program(
            section,
            module,
            common | {"DEVOPS_MCP_DATABASE_URL": servers.database_url(role)},
            ports[section],
            state,
        )
        for section, (module, role) in SERVICES.items()
    ]


def _program(section: str, module: str, environment: Mapping[str, str], port: int, state: Path) -> Program:
    name = module.replace("_", "-")
    return Program(
        name=name,
        argv=(sys.executable, "-m", module),
        is_ready=partial(answers_ok, port, "/health/ready"),
        log_file=state / "logs" / f"{name}.log",
        environment=environment,
        ready_within_s=60,
        stop_within_s=_DRAIN_S + 5,
        on_output=TerminalLog(name, level=os.environ.get(LEVEL_VARIABLE, "warning").lower()),
    )


def _environment(servers: Servers, ports: Mapping[str, int], config_file: Path) -> dict[str, str]:
    """The caller's environment, so that any setting can be given, with ours where the embedded parts decide."""
    listening = {f"DEVOPS_MCP_{section.upper()}__PORT": str(ports[section]) for section in SERVICES}
    hosts = {f"DEVOPS_MCP_{section.upper()}__HOST": LOOPBACK for section in SERVICES}
    return {
        **os.environ,
        # The queue takes any credentials, but its client wants some; those of a real account have no business here.
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DEVOPS_MCP_ENVIRONMENT": "embedded",
        "DEVOPS_MCP_REDIS_URL": servers.redis_url,
        "DEVOPS_MCP_SQS_ENDPOINT_URL": servers.sqs_url,
        "DEVOPS_MCP_CONFIG_FILE": str(config_file),
        "DEVOPS_MCP_LOG_FORMAT": "json",
        **hosts,
        **listening,
    }
