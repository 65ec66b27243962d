"""How long to wait before trying again."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential waits with full jitter: anything between 0 and a ceiling that grows by `factor` up to `cap_s`.

    Full jitter spreads callers that failed together best: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    `random` gives numbers in [0, 1).
    """

    first_s: float = 0.2
    factor: float = 2.0
    cap_s: float = 10.0
    random: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.cap_s and self.factor >= 1):
            raise ValueError("a backoff needs 0 < first_s <= cap_s and factor >= 1")

    def ceiling_s(self, attempt: int) -> float:
        """The longest wait after the failed `attempt`; the first attempt is 1."""
        try:
            return min(self.cap_s, self.first_s * self.factor ** (attempt - 1))
        except OverflowError:
            return self.cap_s

    def delay_s(self, attempt: int) -> float:
        """The wait after the failed `attempt`."""
        return self.random() * self.ceiling_s(attempt)
