"""`python -m worker`: runs the service until SIGTERM."""

from devops_mcp.serving.service import run_service
from worker.app import open_app


def main() -> None:
    run_service("worker", lambda settings: settings.worker, open_app)


if __name__ == "__main__":
    main()
