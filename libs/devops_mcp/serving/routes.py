"""The routes every service has."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.observability.health import Health
from devops_mcp.observability.metrics import Metrics, metrics_endpoint

LIVE = "/health/live"
READY = "/health/ready"
METRICS = "/metrics"
PROBED = frozenset({LIVE, READY, METRICS})
"""Paths that machines ask by address, often: served to an IP address as `Host`, and not logged when all is well."""


def common_routes(health: Health, metrics: Metrics) -> list[Route]:
    """`/health/live` without I/O, `/health/ready` naming each dependency, `/metrics`."""

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(request: Request) -> Response:
        report = await health.readiness()
        return JSONResponse(report.as_json(), report.http_status)

    return [Route(LIVE, live), Route(READY, ready), Route(METRICS, metrics_endpoint(metrics))]
