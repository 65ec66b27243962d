"""The long form of the fault suite: `make soak`, or `python tests/faults/soak.py`.

SOAK_MINUTES says how long (20), SOAK_SEED repeats a run's choices. Each named fault has its turn, in any order and again and again, between
them processes are killed and connections broken at random; the queues are the product's own, so that recovery takes what it takes there.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from devops_mcp.embedded.state import prepare_state  # noqa: E402
from faults.bench import Bench, a_bench  # noqa: E402
from faults.scenarios import SCENARIOS, Report, Scenario, play  # noqa: E402

RATE = 20.0
TASK_EVERY_S = 1.0
KILLS = 8


async def at_random(bench: Bench) -> None:
    """Kill, pause and cut off whatever the seed says, whatever it is doing."""
    for _ in range(KILLS):
        service = bench.chance.choice((bench.rest, *bench.workers))
        network = bench.network(service)
        match bench.chance.randrange(5):
            case 0 | 1:
                await service.kill()
                await asyncio.sleep(bench.chance.uniform(0, 1))
                await service.start()
            case 2:
                service.send(signal.SIGSTOP)
                await asyncio.sleep(bench.chance.uniform(0, 3))
                service.send(signal.SIGCONT)
            case 3:
                bench.chance.choice(network.all).reset_all()
            case _:
                bench.chance.choice(network.all).cut_answers = 2
        await asyncio.sleep(bench.chance.uniform(0, 3))


RANDOM = Scenario("at random", "D01, P02, I1 to I11", at_random)


async def soak(minutes: float, seed: int) -> list[Report]:
    deadline = time.monotonic() + minutes * 60
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="devops-mcp-soak-") as folder:
        async with a_bench(prepare_state(Path(folder)), seed, quick=False) as bench:
            turns: list[Scenario] = []
            while time.monotonic() < deadline:
                turns = turns or _round(bench, minutes)
                scenario = turns.pop()
                report = await play(bench, scenario, RATE, TASK_EVERY_S)
                in_time = report.recovered_s <= scenario.promised_s
                report.counts.require(in_time, f"I10: not at rest within {scenario.promised_s:g} s")
                reports.append(report)
                _say(report)
            print(f"\nanswers to senders: {dict(bench.load.history.answers())}")
            print(
                f"slowest answer {bench.load.history.slowest_s:.1f} s; the slow system was asked {bench.slow.asked} times"
            )
    return reports


def _round(bench: Bench, minutes: float) -> list[Scenario]:
    """Every fault once, with chance between them, in any order. A short run leaves out those that take minutes."""
    named = [one for one in SCENARIOS if minutes >= one.takes_minutes]
    chosen = [*named, *[RANDOM] * (len(named) // 3)]
    bench.chance.shuffle(chosen)
    return chosen


def _say(report: Report) -> None:
    print(f"{report.scenario:<42} {report.recovered_s:6.1f} s to rest, last {report.last[:100]}", flush=True)
    for complaint in report.counts.broken[:10]:
        print(f"  BROKEN {complaint}", flush=True)


def _table(reports: list[Report]) -> str:
    names = list(reports[0].counts.numbers)
    lines = [f"{'fault':<42} {'to rest':>8} " + " ".join(f"{name:>8}" for name in names) + "   invariants"]
    for report in reports:
        numbers = " ".join(f"{value:>8}" for value in report.counts.numbers.values())
        held = "hold" if not report.counts.broken else f"{len(report.counts.broken)} BROKEN"
        lines.append(f"{report.scenario:<42} {report.recovered_s:>6.1f} s {numbers}   {held}")
    return "\n".join(lines)


def main() -> int:
    minutes = float(os.environ.get("SOAK_MINUTES", "20"))
    seed = int(os.environ.get("SOAK_SEED", "0")) or time.time_ns() % 1_000_000
    _environment()
    print(f"{minutes:g} minutes with SOAK_SEED={seed}", flush=True)
    reports = asyncio.run(soak(minutes, seed))
    broken = sum(bool(report.counts.broken) for report in reports)
    print(
        f"\n{_table(reports)}\n\n{len(reports)} faults, {broken} of them broke an invariant; SOAK_SEED={seed}"
    )
    return 1 if broken else 0


def _environment() -> None:
    """Nothing of the caller's settings; the queue takes any credentials but wants some."""
    for name in [name for name in os.environ if name.startswith(("DEVOPS_MCP_", "AWS_"))]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


if __name__ == "__main__":
    sys.exit(main())
