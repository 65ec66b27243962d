import asyncio

import pytest

from devops_mcp.models.errors import Unavailable
from devops_mcp.observability.health import Check, Health, Readiness


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def fine() -> str | None:
    return None


async def broken() -> str | None:
    raise Unavailable("the database does not answer")


async def hanging() -> str | None:
    await asyncio.Event().wait()
    return None


async def test_everything_answering_is_ready() -> None:
    async def mode() -> str | None:
        return "hybrid"

    report = await Health([Check("database", True, fine), Check("search", False, mode)]).readiness()

    assert report.status is Readiness.READY
    assert report.http_status == 200
    checks = report.as_json()["checks"]
    assert isinstance(checks, dict)
    assert checks["search"] == {
        "status": "ok",
        "detail": "hybrid",
        "duration_ms": pytest.approx(0, abs=10_000),
    }


async def test_an_optional_dependency_that_is_down_degrades() -> None:
    report = await Health([Check("database", True, fine), Check("redis", False, broken)]).readiness()

    assert report.status is Readiness.DEGRADED
    assert report.http_status == 200


async def test_a_required_dependency_that_is_down_makes_unready() -> None:
    report = await Health([Check("database", True, broken), Check("redis", False, fine)]).readiness()

    assert report.status is Readiness.UNREADY
    assert report.http_status == 503
    assert report.findings[0].detail == "the database does not answer"


async def test_probes_run_together_and_none_outlasts_the_deadline() -> None:
    checks = [Check(f"hanging-{number}", True, hanging) for number in range(20)]

    async with asyncio.timeout(30):
        report = await Health(checks, deadline_s=0.1).readiness()

    assert {finding.detail for finding in report.findings} == {"no answer within 0.1 s"}


async def test_a_librarys_error_is_named_by_its_type_and_never_quoted() -> None:
    async def leaking() -> str | None:
        raise ConnectionError("postgresql://user:canary@db")

    report = await Health([Check("database", True, leaking)]).readiness()

    assert report.findings[0].detail == "ConnectionError"


async def test_a_report_is_reused_for_a_second_and_no_longer() -> None:
    asked = 0

    async def counted() -> str | None:
        nonlocal asked
        asked += 1
        return None

    clock = Clock()
    health = Health([Check("database", True, counted)], monotonic=clock)

    await asyncio.gather(*(health.readiness() for _ in range(100)))
    clock.now += 0.9
    await health.readiness()
    assert asked == 1

    clock.now += 0.2
    await health.readiness()
    assert asked == 2


async def test_a_caller_that_hangs_up_leaves_the_round_to_the_others() -> None:
    release = asyncio.Event()

    async def slow() -> str | None:
        await release.wait()
        return None

    health = Health([Check("database", True, slow)], deadline_s=60)
    first, second = asyncio.create_task(health.readiness()), asyncio.create_task(health.readiness())
    await asyncio.sleep(0)
    first.cancel()
    release.set()

    assert (await second).status is Readiness.READY
