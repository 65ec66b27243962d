"""The integrations of an embedded start whose operator has configured none."""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from devops_mcp.embedded.state import Secrets, write_private

CONFIG_VARIABLE = "DEVOPS_MCP_CONFIG_FILE"
GITHUB_VARIABLE = "DEVOPS_MCP_DEMO_GITHUB_URL"
PROMETHEUS_VARIABLE = "DEVOPS_MCP_DEMO_PROMETHEUS_URL"
_HEADER = "# Written anew at each embedded start. For your own, copy it and name the copy in DEVOPS_MCP_CONFIG_FILE.\n"
_README = """\
# Files for agents

This folder is what the integration `files` shows to agents. It is yours: put here what they may read, and look here for what they write.
"""


def needs_github_stand_in(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether nobody has said which GitHub to speak to, so that the start brings a small one of its own."""
    return not any(environment.get(name) for name in (CONFIG_VARIABLE, GITHUB_VARIABLE, "GITHUB_TOKEN"))


def configuration_file(
    state: Path, secrets: Secrets, stand_in: str | None, environment: Mapping[str, str] = os.environ
) -> Path:
    """The operator's own file where one is named, else one with integrations to try, written into the state folder.

    `stand_in` is the address of the stand-in for GitHub, where one runs.
    """
    if own := environment.get(CONFIG_VARIABLE):
        return Path(own).absolute()
    if stand_in is not None:
        environment = {**environment, GITHUB_VARIABLE: stand_in}
    integrations = [_files(state), _github(secrets, environment), *_prometheus(environment)]
    content: dict[str, object] = {"integrations": integrations}
    addresses = [environment[name] for name in (GITHUB_VARIABLE, PROMETHEUS_VARIABLE) if name in environment]
    if networks := _local_networks(addresses):
        content["private_networks"] = networks
    path = state / "config.yaml"
    write_private(path, _HEADER + yaml.safe_dump(content, sort_keys=False))
    return path


def _files(state: Path) -> dict[str, object]:
    folder = state / "files"
    if not folder.exists():
        folder.mkdir()
        (folder / "README.md").write_text(_README, "utf-8")
    options = {"roots": {"files": {"path": str(folder), "read_only": False}}}
    return {"name": "files", "system": "fs", "options": options}


def _github(secrets: Secrets, environment: Mapping[str, str]) -> dict[str, object]:
    options = {}
    if address := environment.get(GITHUB_VARIABLE):
        options["base_url"] = address
    if token := environment.get("GITHUB_TOKEN"):
        options["token"] = token
    return {
        "name": "github",
        "system": "github",
        "webhook_secrets": [secrets.github_webhook],
        "options": options,
    }


def _prometheus(environment: Mapping[str, str]) -> list[dict[str, object]]:
    address = environment.get(PROMETHEUS_VARIABLE)
    return (
        [{"name": "prometheus", "system": "prometheus", "options": {"base_url": address}}] if address else []
    )


def _local_networks(addresses: list[str]) -> list[str]:
    """The networks that must be opened for adapters to reach these addresses: named on this machine by its own operator."""
    opened: dict[str, None] = {}
    for address in addresses:
        host = urlsplit(address).hostname or ""
        if host == "localhost":
            opened |= {"127.0.0.0/8": None, "::1/128": None}
        elif _is_private(host):
            opened[f"{host}/{ip_address(host).max_prefixlen}"] = None
    return list(opened)


def _is_private(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return False
