"""Small real programs stand for the services: what is tested is how they are kept."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from devops_mcp.embedded.ports import LOOPBACK, free_port
from devops_mcp.embedded.process import Child, ChildFailed, Program
from devops_mcp.embedded.supervisor import Supervisor
from support.processes import wait_until_gone

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every service is a program")
LISTEN = """
import signal, socket, sys
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
def leave(*_): print("stopped", sys.argv[1], flush=True); sys.exit(0)
if "deaf" not in sys.argv: signal.signal(signal.SIGTERM, leave)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True: server.accept()[0].close()
"""


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


def listener(folder: Path, name: str, *options: str, **changes) -> Program:
    port = free_port()
    settings = {"is_ready": partial(accepts, port), "stop_within_s": 30, "ready_within_s": 60} | changes
    argv = (sys.executable, "-S", "-c", LISTEN, str(port), *options)
    return Program(name=name, argv=argv, log_file=folder / f"{name}.log", **settings)


def script(folder: Path, code: str, **changes) -> Program:
    async def never() -> bool:
        return False

    return Program(
        name="broken",
        argv=(sys.executable, "-S", "-c", code),
        is_ready=never,
        log_file=folder / "broken.log",
        **changes,
    )


class Said:
    """What the supervisor told the terminal, and a way to wait for a line."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, line: str) -> None:
        self.lines.put_nowait(line)

    async def next(self) -> str:
        return await asyncio.wait_for(self.lines.get(), 60)


async def test_programs_are_stopped_in_the_reverse_of_their_start(tmp_path):
    order: list[str] = []

    def told(name: str, output: bytes) -> None:
        if b"stopped" in output:
            order.append(name)

    async with Supervisor(say=print) as supervisor:
        for name in ("database", "queue", "service"):
            await supervisor.start(listener(tmp_path, name, on_output=partial(told, name)))

    assert order == ["service", "queue", "database"]


async def test_a_program_that_ends_before_it_is_ready_is_named_with_its_last_words(tmp_path):
    async with Supervisor(say=print) as supervisor:
        with pytest.raises(
            ChildFailed, match=r"(?s)broken ended before it was ready, exit code 3.*no such table"
        ):
            await supervisor.start(script(tmp_path, "import sys; print('no such table'); sys.exit(3)"))


async def test_a_program_that_is_never_ready_is_given_up_at_its_deadline(tmp_path):
    async with Supervisor(say=print) as supervisor:
        with pytest.raises(ChildFailed, match=r"broken was not ready within 0.3 s"):
            await supervisor.start(script(tmp_path, "import time; time.sleep(60)", ready_within_s=0.3))
        (pid,) = supervisor.pids.values()

    assert wait_until_gone([pid]) == []


async def test_a_program_that_does_not_heed_its_stop_signal_is_killed(tmp_path):
    async with Supervisor(say=print) as supervisor:
        await supervisor.start(listener(tmp_path, "deaf", "deaf", stop_within_s=0.5))
        (pid,) = supervisor.pids.values()

    assert wait_until_gone([pid]) == []


def of_its_own() -> None:
    print(dict(os.environ), sys.argv, flush=True)
    while True:
        signal.pause()


def without_a_table() -> None:
    raise LookupError("no such table")


def copy_of_us(folder: Path, main: Callable[[], None]) -> Program:
    log = folder / "copy.log"

    async def has_spoken() -> bool:
        return log.read_bytes().endswith(b"\n")

    executed = (sys.executable, "-S", "-c", "raise SystemExit('executed')")
    return Program(
        name="copy", argv=executed, main=main, is_ready=has_spoken, log_file=log, environment={"A": "1"}
    )


@LINUX
async def test_a_copy_of_this_process_has_none_of_its_environment_files_and_signal_handlers(tmp_path):
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
    reading, writing = os.pipe()
    child = await Child.start(copy_of_us(tmp_path, of_its_own))
    await child.wait_ready()
    os.close(writing)
    os.set_blocking(reading, False)
    assert os.read(reading, 1) == b"", "nobody else may still write"
    os.close(reading)
    await child.stop()
    assert child.exit_code == -signal.SIGTERM
    assert (tmp_path / "copy.log").read_text() == "{'A': '1'} ['copy']\n"


@LINUX
async def test_a_copy_that_fails_is_named_with_its_last_words(tmp_path):
    child = await Child.start(copy_of_us(tmp_path, without_a_table))
    assert await child.wait() == 1
    with pytest.raises(ChildFailed, match=r"(?s)copy ended before it was ready, exit code 1.*no such table"):
        await child.wait_ready()


async def test_a_program_that_dies_is_said_so_and_started_again(tmp_path):
    said, changes = Said(), []
    async with Supervisor(say=said, changed=lambda: changes.append(1), pause=lambda _: 0.0) as supervisor:
        await supervisor.start(listener(tmp_path, "worker"))
        watching = asyncio.create_task(supervisor.watch())
        first = supervisor.pids["worker"]
        os.kill(first, signal.SIGKILL)

        assert "worker died (killed by SIGKILL)" in await said.next()
        assert await said.next() == "worker is ready again"
        assert supervisor.pids["worker"] != first
        assert changes == [1]
        watching.cancel()


async def test_a_program_that_keeps_dying_ends_the_watch_with_its_name(tmp_path):
    program = listener(tmp_path, "worker")
    async with Supervisor(say=lambda _: None, pause=lambda _: 0.0) as supervisor:

        def kill_the_new_one() -> None:
            os.kill(supervisor.pids["worker"], signal.SIGKILL)

        supervisor.changed = kill_the_new_one
        await supervisor.start(program)
        kill_the_new_one()
        with pytest.raises(ChildFailed, match="worker died 6 times within 60 s"):
            await asyncio.wait_for(supervisor.watch(), 60)


async def test_pauses_between_starts_grow_and_are_bounded(tmp_path):
    pauses: list[float] = []
    async with Supervisor(
        say=lambda _: None, pause=lambda seconds: pauses.append(seconds) or 0.0
    ) as supervisor:
        supervisor.changed = lambda: os.kill(supervisor.pids["worker"], signal.SIGKILL)
        await supervisor.start(listener(tmp_path, "worker"))
        supervisor.changed()
        with pytest.raises(ChildFailed):
            await asyncio.wait_for(supervisor.watch(), 60)

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]


SUPERVISE = """
import asyncio, os, sys
from pathlib import Path
sys.path[:0] = {path!r}
from test_supervisor import listener, sleeper_as_nobody
from devops_mcp.embedded.supervisor import Supervisor

async def main():
    folder = Path({folder!r})
    async with Supervisor(say=print) as supervisor:
        await supervisor.start(listener(folder, "plain"), listener(folder, "deaf", "deaf"), sleeper_as_nobody(folder))
        print(*supervisor.pids.values(), flush=True)
        await supervisor.watch()

asyncio.run(main())
"""


def sleeper_as_nobody(folder: Path) -> Program:
    """A change of user clears the kernel's promise to end a program with its parent."""

    async def at_once() -> bool:
        return True

    user = "nobody" if os.geteuid() == 0 else None
    return Program(
        name="sleeper",
        argv=("/bin/sleep", "600"),
        is_ready=at_once,
        log_file=folder / "sleeper.log",
        user=user,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_kill_9_of_the_supervisor_leaves_no_process(tmp_path):
    here = Path(__file__).parent
    code = SUPERVISE.format(path=[str(here), str(here.parents[1])], folder=str(tmp_path))
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(supervisor.stdout.readline(), 30)).split()]

    supervisor.kill()
    await supervisor.wait()

    assert len(pids) == 3
    assert wait_until_gone(pids) == []
