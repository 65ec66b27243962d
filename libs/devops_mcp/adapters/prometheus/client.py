"""The calls to Prometheus' HTTP API (v1) that the tools need: https://prometheus.io/docs/prometheus/latest/querying/api/"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import orjson

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.prometheus.config import PrometheusSettings
from devops_mcp.adapters.upstream import Reply, Upstream, path, said
from devops_mcp.models.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRejected,
)

Arguments: TypeAlias = Mapping[str, str | Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class Answer:
    """`data` of a successful answer. `warnings` are Prometheus' own remarks on it, annotations included."""

    data: Any
    warnings: list[str]


class Prometheus:
    """One integration's connection."""

    def __init__(self, settings: PrometheusSettings, outside: Outside) -> None:
        self._outside = outside
        self._query_method = settings.query_method
        self._query_timeout = f"{round(settings.timeout_s * 900)}ms"
        self._upstream = Upstream(
            "prometheus",
            settings.base_url,
            outside,
            headers=settings.request_headers(),
            timeout_s=settings.timeout_s,
            max_bytes=settings.max_answer_bytes,
            translate=_refusal,
        )

    async def close(self) -> None:
        await self._upstream.close()

    def now(self) -> datetime:
        return self._outside.now()

    async def get(self, *segments: str, arguments: Arguments | None = None) -> Answer:
        """What `/api/v1/<segments>` answers."""
        return _answer(await self._upstream.get(path("api", "v1", *segments), params=arguments))

    async def ask(self, endpoint: str, arguments: Arguments) -> Answer:
        """What a read answers whose arguments may be too long for a URL, such as a query."""
        given = {name: value for name, value in arguments.items() if value is not None}
        where = path("api", "v1", endpoint)
        if self._query_method == "GET":
            return _answer(await self._upstream.get(where, params=given))
        return _answer(await self._upstream.request("POST", where, data=given, safe=True))

    async def evaluate(self, endpoint: str, arguments: Arguments) -> Answer:
        """As `ask`, for PromQL: Prometheus gives up on it a little before we do, so that it says why and stops working on it."""
        return await self.ask(endpoint, {**arguments, "timeout": self._query_timeout})

    async def change(self, *segments: str, arguments: Arguments) -> Answer:
        return _answer(await self._upstream.request("POST", path("api", "v1", *segments), params=arguments))

    async def version(self) -> str | None:
        """The version, or None from a server that is ready and does not tell it."""
        try:
            data = (await self.get("status", "buildinfo")).data
        except UpstreamNotFound:
            await self._upstream.get(path("-", "ready"))
            return None
        return data.get("version") if isinstance(data, dict) else None


def _answer(reply: Reply) -> Answer:
    content = reply.json()
    if not isinstance(content, dict) or content.get("status") != "success":
        raise UpstreamInvalid("the answer is not one of Prometheus' API; check base_url")
    remarks = [*(content.get("warnings") or []), *(content.get("infos") or [])]
    return Answer(content.get("data"), [str(remark) for remark in remarks])


def _refusal(reply: Reply) -> UpstreamError | None:
    """A 5xx that is about the request, not about Prometheus: repeating it would not help, and others are not concerned."""
    match _error_type(reply):
        case "timeout" | "canceled":
            return UpstreamRejected(
                f"prometheus gave up on the query: {said(reply)}; narrow its range or its selectors, or take a larger step"
            )
        case "execution":
            return UpstreamRejected(f"prometheus could not run the query: {said(reply)}")
        case "unavailable" if "admin" in said(reply).lower():
            return UpstreamRejected(
                f"prometheus answered: {said(reply)}; it must be started with --web.enable-admin-api for this"
            )
        case _:
            return None


def _error_type(reply: Reply) -> str | None:
    try:
        content = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None
    kind = content.get("errorType") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None
