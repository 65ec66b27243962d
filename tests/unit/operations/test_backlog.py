import asyncio

import pytest

from devops_mcp.models.errors import PlatformError
from devops_mcp.operations import backlog
from devops_mcp.operations.backlog import writing

PAUSE_S = 0.05


class NeverEmpty(backlog.Backlog[str, int]):
    """Of which there is always more: somebody keeps something while it is written."""

    def __init__(self) -> None:
        super().__init__("things")
        self._waiting["theirs"] = 1
        self.written_at: list[float] = []
        self.enough = asyncio.Event()

    async def _try_write(self, key: str) -> PlatformError | None:
        self.written_at.append(asyncio.get_running_loop().time())
        if len(self.written_at) == 4:
            self._waiting.clear()
            self.enough.set()
        return None


async def test_what_comes_while_it_writes_waits_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast it comes, it is written in as few batches as there are pauses."""
    monkeypatch.setattr(backlog, "FLUSH_S", PAUSE_S)
    async with writing(NeverEmpty()) as busy, asyncio.timeout(10):
        await busy.enough.wait()

    pauses = [later - earlier for earlier, later in zip(busy.written_at, busy.written_at[1:], strict=False)]
    assert len(pauses) == 3
    assert min(pauses) > PAUSE_S * 0.9
