"""The SDK's own server with one trivial tool, as its decorators make it: `python -m benchmarks.sdk_server PORT`."""

import sys

import uvicorn
from mcp.server import MCPServer

server = MCPServer("bare")


@server.tool()
def describe(names: list[str]) -> dict[str, list[str]]:
    """Describe tools."""
    return {"items": names}


if __name__ == "__main__":
    uvicorn.run(
        server.streamable_http_app(json_response=True),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        timeout_keep_alive=75,
        log_level="warning",
    )
