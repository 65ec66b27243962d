"""`python -m rest_api`: runs the service until SIGTERM."""

from devops_mcp.serving.service import run_service
from rest_api.app import open_app


def main() -> None:
    run_service("rest-api", lambda settings: settings.rest, open_app)


if __name__ == "__main__":
    main()
