"""Rounds, percentiles and the table."""

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

Round = Callable[[], Awaitable[tuple[float, list[float]]]]
"""Runs one round; gives operations a second and the seconds of each."""


@dataclass
class Series:
    """What the rounds of one side gave."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def percentile_ms(self, percent: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1_000


@dataclass(frozen=True)
class Speed:
    """Operations a second, and the seconds of CPU that each took of this process."""

    rate: float
    cpu_s: float

    @classmethod
    def median(cls, rounds: Sequence["Speed"]) -> "Speed":
        return cls(statistics.median(r.rate for r in rounds), statistics.median(r.cpu_s for r in rounds))

    def __str__(self) -> str:
        return f"{self.rate:,.0f}/s, {self.cpu_s * 1e6:,.0f} µs CPU"


class Stopwatch:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._begun, self._used = time.perf_counter(), time.process_time()

    def read(self, count: int) -> Speed:
        return Speed(count / (time.perf_counter() - self._begun), (time.process_time() - self._used) / count)


@dataclass(frozen=True)
class Row:
    """A line of the result."""

    part: str
    ours: str
    bare: str
    ratio: str = ""


async def alternate(ours: Round, bare: Round, rounds: int) -> tuple[Series, Series]:
    """Run both sides in turn, so that whatever else the machine does hits both."""
    first, second = Series(), Series()
    for _ in range(rounds):
        for series, run in ((first, ours), (second, bare)):
            rate, seconds = await run()
            series.rates.append(rate)
            series.seconds += seconds
    return first, second


def throughput(part: str, ours: Series, bare: Series, extra: str = "") -> Row:
    return Row(part, f"{_said(ours)}{extra}", _said(bare), f"{ours.rate / bare.rate:.0%} of bare")


def latency(part: str, ours: Series, bare: Series) -> Row:
    ratio = ours.percentile_ms(50) / bare.percentile_ms(50)
    return Row(part, _spread(ours), _spread(bare), f"{ratio:.1f} × bare")


def _said(series: Series) -> str:
    return f"{series.rate:,.0f}/s, {_times(series)}"


def _spread(series: Series) -> str:
    return " ".join(f"p{percent} {series.percentile_ms(percent):.1f}" for percent in (50, 95, 99)) + " ms"


def _times(series: Series) -> str:
    return f"p50 {series.percentile_ms(50):.1f} ms, p99 {series.percentile_ms(99):.1f} ms"


async def timed_calls(count: int, call: Callable[[int], Awaitable[None]]) -> tuple[float, list[float]]:
    """Call one after another."""
    seconds: list[float] = []
    begun = time.perf_counter()
    for number in range(count):
        started = time.perf_counter()
        await call(number)
        seconds.append(time.perf_counter() - started)
    return count / (time.perf_counter() - begun), seconds


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in user and system mode (Linux)."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        fields = file.read().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(rows: Sequence[Row]) -> str:
    columns = [
        [row.part, row.ours, row.bare, row.ratio] for row in (Row("part", "ours", "bare", "ratio"), *rows)
    ]
    widths = [max(len(column[i]) for column in columns) for i in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(column, widths, strict=True)) for column in columns
    )
