"""A workspace on the real disk, and its tools called as the server calls them: by name, with unchecked arguments."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from devops_mcp.adapters.filesystem import ADAPTER
from devops_mcp.adapters.filesystem.beneath import Opener, best_opener, open_by_walking
from devops_mcp.adapters.filesystem.client import Filesystem, Sandbox
from devops_mcp.adapters.filesystem.config import FilesystemSettings

Call = Callable[..., Awaitable[Any]]
Connect = Callable[..., Call]


@pytest.fixture(params=[best_opener(), open_by_walking], ids=["best", "walking"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Each way of opening; on Linux the best one is openat2."""
    return request.param


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder behind the root `work`; its parent stands for the rest of the machine."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def connect(work: Path) -> Connect:
    """`connect(opener=…, **settings)`: a function that calls a tool; the root `work` is writable unless `roots` says otherwise."""

    def connected(
        opener: Opener | None = None, now: Callable[[], float] = monotonic, **settings: Any
    ) -> Call:
        settings.setdefault("roots", {"work": {"path": work, "read_only": False}})
        client = Filesystem(Sandbox(FilesystemSettings(**settings), opener), now)
        tools = {tool.name: tool for tool in ADAPTER.tools}

        async def call(name: str, /, **arguments: Any) -> Any:
            return await tools[name].run(client, tools[name].params(**arguments))

        return call

    return connected


@pytest.fixture
def call(connect: Connect) -> Call:
    return connect()
