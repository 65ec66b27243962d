"""Series of samples, made small without lying: what is missing is said, what is not a number stays a word."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

from devops_mcp.adapters.prometheus.times import rfc3339
from devops_mcp.models.errors import UpstreamInvalid

Number: TypeAlias = int | float | str
"""A JSON number, or `NaN`, `+Inf`, `-Inf` as text: JSON has no word for them."""
Labels: TypeAlias = dict[str, str]
Sample: TypeAlias = tuple[float, Number]
"""Unix seconds and value."""

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
EXACT = 2**53


class Histogram(BaseModel):
    """A native histogram's sample, without its buckets."""

    model_config = ConfigDict(extra="forbid")

    count: Number
    sum: Number
    buckets: int


class Summary(BaseModel):
    """A series in a line. `min`, `max` and `avg` are over its finite values; `last` is its newest sample, whatever it is.

    `missing` counts steps without a sample; `not_finite` counts NaN and Inf. `ended`: there is no sample at the range's last step.
    """

    model_config = ConfigDict(extra="forbid")

    min: Number | None = None
    max: Number | None = None
    avg: Number | None = None
    last: Number | None = None
    last_at: str | None = None
    samples: int
    missing: int | None = None
    not_finite: int | None = None
    ended: bool | None = None
    sparkline: str


@dataclass(frozen=True, slots=True)
class Grid:
    """The moments at which a range is evaluated, in whole milliseconds as Prometheus counts them."""

    start_ms: int
    end_ms: int
    step_ms: int

    @classmethod
    def of(cls, start_s: float, end_s: float, step_s: float) -> "Grid":
        return cls(round(start_s * 1000), round(end_s * 1000), max(1, round(step_s * 1000)))

    @property
    def steps(self) -> int:
        return (self.end_ms - self.start_ms) // self.step_ms + 1

    def place(self, samples: Iterable[Sample]) -> list[Number | None]:
        """One value a step from the start; None where there is no sample."""
        values: list[Number | None] = [None] * self.steps
        for at, value in samples:
            index = round((at * 1000 - self.start_ms) / self.step_ms)
            # VictoriaMetrics moves start and end to multiples of the step.
            if not -1 <= index <= len(values):
                raise UpstreamInvalid(f"prometheus answered a sample at {at}, outside of the range asked for")
            values[min(max(index, 0), len(values) - 1)] = value
        return values


def number(text: object) -> Number:
    """The value of a sample, which Prometheus writes as text."""
    try:
        value = float(str(text))
    except ValueError:
        raise UpstreamInvalid(f"prometheus answered {str(text)[:40]!r} where a number belongs") from None
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return int(value) if value.is_integer() and abs(value) < EXACT else value


def summarise(values: Sequence[Number | None], samples: Sequence[Sample]) -> Summary:
    """`values` as placed on a grid by `Grid.place` from `samples`, which are in order of time."""
    finite = [value for _, value in samples if not isinstance(value, str)]
    missing = len(values) - len(samples)
    return Summary(
        min=min(finite, default=None),
        max=max(finite, default=None),
        avg=_average(finite),
        last=samples[-1][1] if samples else None,
        last_at=rfc3339(samples[-1][0]) if samples else None,
        samples=len(samples),
        missing=missing or None,
        not_finite=(len(samples) - len(finite)) or None,
        ended=True if values and values[-1] is None else None,
        sparkline=sparkline(values),
    )


def sparkline(values: Sequence[Number | None], width: int = WIDTH) -> str:
    """At most `width` bars; each is the highest value of its stretch. A blank has no sample, `?` only what is not finite."""
    columns = [_column(stretch) for stretch in _stretches(values, width)]
    finite = [value for value in columns if not isinstance(value, str)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return "".join(column if isinstance(column, str) else _bar(column, low, high) for column in columns)


def shared_labels(series: Sequence[Mapping[str, str]]) -> Labels:
    """The labels that all of several series have with the same value: said once, to save room."""
    if len(series) < 2:
        return {}
    first, *rest = series
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in rest)}


def own_labels(labels: Mapping[str, str], shared: Mapping[str, str]) -> Labels:
    return {name: value for name, value in labels.items() if name not in shared}


def _stretches(values: Sequence[Number | None], width: int) -> list[Sequence[Number | None]]:
    count = min(len(values), width)
    bounds = [index * len(values) // count for index in range(count + 1)] if count else []
    return [values[begin:end] for begin, end in pairwise(bounds)]


def _column(stretch: Sequence[Number | None]) -> float | str:
    present = [value for value in stretch if value is not None]
    finite = [float(value) for value in present if not isinstance(value, str)]
    if finite:
        return max(finite)
    return "?" if present else " "


def _bar(value: float, low: float, high: float) -> str:
    # Halves, because the distance between two finite numbers can be more than the largest one.
    height = high / 2 - low / 2
    if height == 0:
        return BARS[len(BARS) // 2 - 1]
    return BARS[min(len(BARS) - 1, int((value / 2 - low / 2) / height * len(BARS)))]


def _average(values: Sequence[int | float]) -> float | None:
    """The mean, which rounding must not carry beyond the extremes."""
    if not values:
        return None
    mean = math.fsum(value / len(values) for value in values)
    return float(f"{min(max(mean, min(values)), max(values)):.12g}")
