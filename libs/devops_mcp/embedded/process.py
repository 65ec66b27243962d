"""One child process: it cannot outlive us, is probed until it is ready, and is stopped with its own signal."""

import asyncio
import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TypedDict

from devops_mcp.embedded.copies import become
from devops_mcp.models.errors import Unavailable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PROBE_PAUSE_S = 0.02
_LOG_KEPT_BYTES = 10_000_000
_TAIL_LINES = 15


class ChildFailed(Unavailable):
    """A program ended, or was not ready in time, when it should run."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to start, how to see that it is ready, and how to stop it.

    `main` is run in place of `argv`, by a copy of this process (`embedded.copies`).
    `is_ready` answers within seconds and never raises. `death_signal` is what the kernel sends the program when we die without stopping it
    (Linux). `on_output` is given the program's output besides the log file, as it comes.
    """

    name: str
    argv: tuple[str, ...]
    is_ready: Callable[[], Awaitable[bool]]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    ready_within_s: float = 20.0
    stop_within_s: float = 10.0
    on_output: Callable[[bytes], None] | None = None
    main: Callable[[], None] | None = None


class Child:
    """A started program, leader of its own session, so that a Ctrl-C of the terminal does not reach it."""

    def __init__(
        self, program: Program, process: asyncio.subprocess.Process, reader: asyncio.Task[None] | None
    ) -> None:
        self.program = program
        self._process = process
        self._reader = reader

    @classmethod
    async def start(cls, program: Program) -> "Child":
        """Start the program; it need not be ready when this returns."""
        with _open_log(program.log_file) as log:
            process = await asyncio.create_subprocess_exec(
                *program.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if program.on_output else log,
                stderr=asyncio.subprocess.STDOUT,
                cwd="/",
                env=dict(program.environment),
                start_new_session=True,
                preexec_fn=partial(_begin, program, os.getpid()),
                **as_user(program.user),
            )
        reader = asyncio.create_task(_copy_output(process, program)) if program.on_output else None
        return cls(program, process, reader)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the program has ended and its output is written; return the exit code."""
        code = await self._process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=1)
        return code

    async def wait_ready(self) -> None:
        """Wait until the program's probe succeeds.

        Raises `ChildFailed`, with the last lines of its log, when it ends before or is late.
        """
        try:
            async with asyncio.timeout(self.program.ready_within_s):
                while not await self.program.is_ready():
                    self._refuse_ended()
                    await asyncio.sleep(_PROBE_PAUSE_S)
        except TimeoutError:
            raise ChildFailed(
                self._describe(f"was not ready within {self.program.ready_within_s:g} s")
            ) from None
        self._refuse_ended()

    async def stop(self) -> None:
        """Send the stop signal, wait for the end, and kill what is left of the program's process group."""
        self._signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(self.wait(), self.program.stop_within_s)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self.wait()
        finally:
            self._kill_group()

    def _refuse_ended(self) -> None:
        if self.exit_code is not None:
            raise ChildFailed(self._describe(f"ended before it was ready, {describe_exit(self.exit_code)}"))

    def _describe(self, what: str) -> str:
        return (
            f"{self.program.name} {what}; the end of {self.program.log_file}:\n{tail(self.program.log_file)}"
        )

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            self._process.send_signal(number)

    def _kill_group(self) -> None:
        # After the leader only its own children can be left in the group; an empty group is the rule.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


async def run_to_end(*argv: str, environment: Mapping[str, str], user: str | None = None) -> tuple[int, str]:
    """Run a program that ends by itself; return its exit code and what it wrote. It too cannot outlive us."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        env=dict(environment),
        start_new_session=True,
        preexec_fn=partial(_die_with_parent, signal.SIGKILL, os.getpid()),
        **as_user(user),
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return await process.wait(), output.decode("utf-8", "replace")


def end_with_parent(number: signal.Signals) -> None:
    """Ask the kernel to send this process the signal when the one that started it ends (Linux)."""
    _die_with_parent(number, os.getppid())


def describe_exit(code: int) -> str:
    """`exit code 3` or `killed by SIGSEGV`."""
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def tail(path: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log, indented for a message."""
    try:
        content = path.read_bytes()[-20_000:]
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in content.decode("utf-8", "replace").splitlines()[-lines:])


class Identity(TypedDict):
    """The arguments of `subprocess` that say whom a program runs as."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def as_user(name: str | None) -> Identity:
    """That user without the groups of ours; None: as we are."""
    if name is None:
        return Identity(user=None, group=None, extra_groups=None)
    entry = pwd.getpwnam(name)
    return Identity(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[])


def _begin(program: Program, parent: int) -> None:
    """In the child: returns for a program that is to be executed."""
    _die_with_parent(program.death_signal, parent)
    if program.main is not None:
        become(program.name, program.main, program.environment)


def _die_with_parent(number: signal.Signals, parent: int) -> None:
    # Runs in the child after the change of user, which would clear the setting.
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > _LOG_KEPT_BYTES:
        path.replace(path.with_suffix(".old.log"))
    return path.open("ab", buffering=0)


async def _copy_output(process: asyncio.subprocess.Process, program: Program) -> None:
    assert process.stdout is not None
    assert program.on_output is not None
    with _open_log(program.log_file) as log:
        while chunk := await process.stdout.read(65_536):
            log.write(chunk)
            program.on_output(chunk)
