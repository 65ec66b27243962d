"""A clock that the test moves."""

from dataclasses import dataclass, field


@dataclass
class HandClock:
    """Reads `seconds`; `sleep` moves it at once and remembers how far."""

    seconds: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
