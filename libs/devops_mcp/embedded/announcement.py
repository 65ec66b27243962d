"""What the embedded start tells people and programs once everything is ready."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devops_mcp.embedded.ports import LOOPBACK
from devops_mcp.embedded.postgres import SUPERUSER
from devops_mcp.embedded.servers import Servers
from devops_mcp.embedded.state import write_private


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where a running suite is."""

    state: Path
    servers: Servers
    ports: Mapping[str, int]
    webhook_secrets: Mapping[str, str]
    github_stand_in: str | None = None

    @property
    def rest(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['rest']}"

    @property
    def mcp_http(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['mcp']}/mcp"

    @property
    def mcp_ws(self) -> str:
        return f"ws://{LOOPBACK}:{self.ports['mcp']}/ws"

    @property
    def file(self) -> Path:
        return self.state / "run.json"

    def write(self, pids: Mapping[str, int]) -> None:
        """Write the file that programs read. It exists while the suite is ready, and only its owner can read it."""
        content: dict[str, object] = {
            "rest": self.rest,
            "mcp_http": self.mcp_http,
            "mcp_ws": self.mcp_ws,
            "api_key": self.servers.secrets.development_key,
            "postgres": self.servers.database_url(SUPERUSER),
            "redis": self.servers.redis_url,
            "sqs": self.servers.sqs_url,
            "pids": dict(pids),
        }
        if self.webhook_secrets:
            content["webhook_secrets"] = dict(self.webhook_secrets)
        if self.github_stand_in:
            content["github_stand_in"] = self.github_stand_in
        write_private(self.file, json.dumps(content, indent=2) + "\n")

    def text(self, seconds: float) -> str:
        """The same for people, with what to do next."""
        key = self.servers.secrets.development_key
        webhooks = "github" if self.webhook_secrets else "<system>/<integration>"
        github = f"a stand-in of ours at {self.github_stand_in}; set GITHUB_TOKEN for the real one"
        demo = "make demo" if self.state == Path(".data").absolute() else f"make demo STATE={self.state}"
        github_line = f"\n  GitHub             {github}" if self.github_stand_in else ""
        return f"""
DevOps MCP is ready ({seconds:.1f} s).

  WebSocket MCP      {self.mcp_ws}
  Streamable HTTP    {self.mcp_http}
  REST               {self.rest}/api/v1
  Docs               {self.rest}/docs
  Webhooks           {self.rest}/webhooks/{webhooks}
  Development key    {key}{github_line}

For an MCP client's configuration (either entry):

{json.dumps(self._client_configuration(), indent=2)}

Next:
  {demo:<50} plays the main story against this
  curl -H 'Authorization: Bearer {key}' {self.rest}/api/v1/tools
  put files for agents into                          {self.state / "files"}
  logs are in                                        {self.state / "logs"}
  addresses for programs are in                      {self.file}

Ctrl-C stops everything; the data stays in {self.state}.
"""

    def _client_configuration(self) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {self.servers.secrets.development_key}"}
        return {
            "mcpServers": {
                "devops-mcp": {"type": "http", "url": self.mcp_http, "headers": headers},
                "devops-mcp-ws": {"type": "ws", "url": self.mcp_ws, "headers": headers},
            }
        }
