"""Liveness and readiness.

Liveness answers without I/O: a restart repairs a stuck process, never somebody else's outage. Readiness asks every dependency at once,
each within a deadline; one that is required and down makes the service unready, an optional one makes it degraded.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog

from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import PlatformError

log = structlog.get_logger()

Probe = Callable[[], Awaitable[str | None]]
"""Returns when the dependency works, with a word about it if there is one (`hybrid`); raises when it does not."""


class Readiness(StrEnum):
    READY = "ready"
    DEGRADED = "degraded"
    UNREADY = "unready"


@dataclass(frozen=True, slots=True)
class Check:
    """A dependency and how to ask it."""

    name: str
    required: bool
    probe: Probe


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `detail` is safe to show."""

    name: str
    required: bool
    ok: bool
    detail: str | None
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of one round."""

    findings: tuple[Finding, ...]

    @property
    def status(self) -> Readiness:
        down = [finding for finding in self.findings if not finding.ok]
        if any(finding.required for finding in down):
            return Readiness.UNREADY
        return Readiness.DEGRADED if down else Readiness.READY

    @property
    def http_status(self) -> int:
        return 503 if self.status is Readiness.UNREADY else 200

    def as_json(self) -> JsonObject:
        return {
            "status": self.status.value,
            "checks": {finding.name: _as_json(finding) for finding in self.findings},
        }


class Health:
    """The checks of one service. A round's report is reused for `cache_s`, so that probes cannot be used to hammer."""

    def __init__(
        self,
        checks: Sequence[Check] = (),
        deadline_s: float = 1.0,
        *,
        cache_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = tuple(checks)
        self._deadline_s = deadline_s
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._round: asyncio.Task[Report] | None = None
        self._asked_at = 0.0
        self._last_ok: dict[str, bool] = {}

    async def readiness(self) -> Report:
        """The report of the round under way or of one not older than `cache_s`, else of a new one; within the deadline."""
        now = self._monotonic()
        current = self._round
        if current is None or (current.done() and now - self._asked_at >= self._cache_s):
            self._asked_at = now
            current = self._round = asyncio.create_task(self._ask_all(), name="readiness")
        # Shielded: a caller that hangs up must not take the report from the others.
        return await asyncio.shield(current)

    async def _ask_all(self) -> Report:
        report = Report(tuple(await asyncio.gather(*(self._ask(check) for check in self._checks))))
        for finding in report.findings:
            self._note_change(finding)
        return report

    async def _ask(self, check: Check) -> Finding:
        started = self._monotonic()
        probe = asyncio.ensure_future(check.probe())
        try:
            await asyncio.wait({probe}, timeout=self._deadline_s)
        finally:
            probe.cancel()
        ok, detail = self._outcome(probe)
        return Finding(
            check.name, check.required, ok, detail, round((self._monotonic() - started) * 1_000, 1)
        )

    def _outcome(self, probe: asyncio.Future[str | None]) -> tuple[bool, str | None]:
        if not probe.done() or probe.cancelled():
            return False, f"no answer within {self._deadline_s:g} s"
        error = probe.exception()
        if error is None:
            return True, probe.result()
        # A library's text may hold an address or a credential; ours never does.
        return False, error.message if isinstance(error, PlatformError) else type(error).__name__

    def _note_change(self, finding: Finding) -> None:
        if self._last_ok.get(finding.name, True) != finding.ok:
            log.warning("dependency changed", dependency=finding.name, ok=finding.ok, detail=finding.detail)
        self._last_ok[finding.name] = finding.ok


def _as_json(finding: Finding) -> JsonObject:
    return {
        "status": "ok" if finding.ok else "down",
        "detail": finding.detail,
        "duration_ms": finding.duration_ms,
    }
