"""The short form of the fault suite: a few seconds of load for each named fault, on one set of servers; `make soak` is the long one."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from devops_mcp.embedded.state import prepare_state
from faults.bench import Bench, a_bench
from faults.scenarios import SCENARIOS, Scenario, play

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("faults"),
    pytest.mark.timeout(240),
]
SEED = 20_261_121
SHORT = [scenario for scenario in SCENARIOS if not scenario.takes_minutes]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with a_bench(prepare_state(tmp_path_factory.mktemp("faults")), SEED, quick=True) as started:
        yield started


@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
async def test_nothing_is_lost_and_nothing_done_twice(bench, scenario: Scenario):
    """D01, D02, D03, D07, D09, D12, P01, P02, R01, X01; I1 to I11"""
    report = await play(bench, scenario)
    print(f"{report.recovered_s:.1f} s to rest, last {report.last or 'nothing'}; {report.counts.numbers}")
    assert report.counts.broken == []
