"""`python -m mcp_server`: runs the service until SIGTERM."""

from devops_mcp.serving.service import run_service
from mcp_server.app import open_app


def main() -> None:
    run_service("mcp-server", lambda settings: settings.mcp, open_app)


if __name__ == "__main__":
    main()
