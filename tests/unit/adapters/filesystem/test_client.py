"""The client: threads that are bounded, calls that can be cancelled, settings that are refused."""

import asyncio
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.filesystem import ADAPTER
from devops_mcp.adapters.filesystem.client import Filesystem, Sandbox
from devops_mcp.adapters.filesystem.config import FilesystemSettings
from devops_mcp.models.errors import DeadlineExceeded, NotFound, UpstreamUnavailable


async def test_ping_opens_every_root_and_names_the_one_that_is_gone(tmp_path):
    (tmp_path / "here").mkdir()
    settings = FilesystemSettings(roots={"here": tmp_path / "here"})
    async with ADAPTER.connect(settings, Outside()) as client:
        assert await ADAPTER.ping(client) is None
        (tmp_path / "here").rmdir()
        with pytest.raises(NotFound, match="here does not exist"):
            await ADAPTER.ping(client)


async def test_a_cancelled_call_returns_at_once_and_its_thread_ends_at_its_next_look(work):
    client = Filesystem(Sandbox(FilesystemSettings(roots={"work": work})))
    started, go_on = threading.Event(), threading.Event()
    looked: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def stuck(sandbox, budget):
        started.set()
        go_on.wait(60)
        loop.call_soon_threadsafe(looked.put_nowait, budget.in_time())

    call = asyncio.create_task(client.run(stuck))
    assert await asyncio.to_thread(started.wait, 60)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 30)
    go_on.set()
    assert await asyncio.wait_for(looked.get(), 60) is False


async def test_threads_stuck_on_a_dead_disk_are_bounded(work):
    client = Filesystem(Sandbox(FilesystemSettings(roots={"work": work}, threads=1)))
    started, go_on = threading.Semaphore(0), threading.Event()

    def stuck(sandbox, budget):
        started.release()
        go_on.wait(60)

    try:
        for _ in range(2):
            call = asyncio.create_task(client.run(stuck))
            assert await asyncio.to_thread(started.acquire, timeout=60)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        with pytest.raises(UpstreamUnavailable, match="all file threads are stuck"):
            await client.run(stuck)
    finally:
        go_on.set()


async def test_work_without_use_for_a_half_raises_when_its_time_is_up(connect, work):
    (work / "a").touch()
    clock = iter(range(0, 10_000, 100)).__next__
    with pytest.raises(DeadlineExceeded):
        await connect(now=clock)("fs_list", path="work")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"roots": {}},
        {"roots": {"work": "relative/path"}},
        {"roots": {"work": "/srv/../etc"}},
        {"roots": {"work": "/"}},
        {"roots": {"work": "/proc/self"}},
        {"roots": {"work": "/dev"}},
        {"roots": {"a/b": "/srv"}},
        {"roots": {"..": "/srv"}},
        {"roots": {"": "/srv"}},
        {"roots": {"work": {"path": "/srv", "unknown": 1}}},
        {"roots": {"work": "/srv"}, "deny": ["secrets/prod"]},
        {"roots": {"work": "/srv"}, "deny": [""]},
        {"roots": {"work": "/srv"}, "timeout_s": 0},
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        FilesystemSettings(**settings)


def test_a_root_is_read_only_unless_said_otherwise():
    settings = FilesystemSettings(roots={"a": "/srv/a", "b": {"path": "/srv/b", "read_only": False}})
    assert settings.roots["a"].path == Path("/srv/a")
    assert (settings.roots["a"].read_only, settings.roots["b"].read_only) == (True, False)


def test_a_deny_pattern_may_be_written_as_a_glob_of_folders():
    settings = FilesystemSettings(roots={"a": "/srv"}, deny=[".git/**", "**/vault", "cache/"])
    assert settings.deny == (".git", "vault", "cache")
