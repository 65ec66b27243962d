"""Keeps programs running: starts them in order, restarts one that dies, stops them in reverse."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from devops_mcp.embedded.process import Child, ChildFailed, Program, describe_exit, tail

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_DEATHS_ALLOWED = 5
_DEATHS_WITHIN_S = 60.0


class _Kept:
    """A program with its present child and the times at which earlier ones died."""

    def __init__(self, child: Child) -> None:
        self.program = child.program
        self.child = child
        self.deaths: deque[float] = deque(maxlen=_DEATHS_ALLOWED)

    def pause_after_death(self, now: float) -> float:
        """How long to wait before the next start; doubles with each death of the last minute."""
        recent = sum(1 for died in self.deaths if now - died < _DEATHS_WITHIN_S)
        self.deaths.append(now)
        if recent >= _DEATHS_ALLOWED:
            raise ChildFailed(
                f"{self.program.name} died {recent + 1} times within {_DEATHS_WITHIN_S:g} s; "
                f"the end of {self.program.log_file}:\n{tail(self.program.log_file)}"
            )
        return float(min(_FIRST_PAUSE_S * 2**recent, _LONGEST_PAUSE_S))


class Supervisor:
    """Owns the programs it starts: leaving the context stops every one of them.

    `say` is told what a person must know, one line at a time; `changed` is called when a program's process id changed.
    """

    def __init__(
        self,
        *,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
        pause: Callable[[float], float] = lambda seconds: seconds,
    ) -> None:
        self._say = say
        self.changed = changed
        self._pause = pause
        self._kept: list[_Kept] = []

    @property
    def pids(self) -> Mapping[str, int]:
        """The process id of each program, in the order of their start."""
        return {kept.program.name: kept.child.pid for kept in self._kept}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, *programs: Program) -> None:
        """Start the programs side by side and wait until all are ready. Raises `ChildFailed` for the first that is not."""
        await self.launch(*programs)
        await self.wait_ready()

    async def launch(self, *programs: Program) -> None:
        """Start the programs without waiting for them."""
        for program in programs:
            self._kept.append(_Kept(await Child.start(program)))

    async def wait_ready(self, *names: str) -> None:
        """Wait until the named programs are ready, or all. Raises `ChildFailed` for the first that is not."""
        awaited = [kept for kept in self._kept if not names or kept.program.name in names]
        waits = [asyncio.create_task(kept.child.wait_ready()) for kept in awaited]
        try:
            await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()

    async def watch(self) -> None:
        """Restart what dies, until a program keeps dying: then raise `ChildFailed`."""
        keepers = [asyncio.create_task(self._keep(kept), name=kept.program.name) for kept in self._kept]
        try:
            await asyncio.gather(*keepers)
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.wait(keepers)

    async def stop(self) -> None:
        """Stop the programs in the reverse of their start, each before the next, so that none loses what it depends on."""
        while self._kept:
            await self._kept.pop().child.stop()

    async def _keep(self, kept: _Kept) -> None:
        loop = asyncio.get_running_loop()
        while True:
            code = await kept.child.wait()
            seconds = self._pause(kept.pause_after_death(loop.time()))
            self._say(
                f"{kept.program.name} died ({describe_exit(code)}); it is started again in {seconds:g} s. {kept.program.log_file}"
            )
            await asyncio.sleep(seconds)
            await self._restart(kept)

    async def _restart(self, kept: _Kept) -> None:
        kept.child = await Child.start(kept.program)
        self.changed()
        try:
            await kept.child.wait_ready()
        except ChildFailed as error:
            # The next turn of the loop sees its end and counts it.
            self._say(str(error))
            await kept.child.stop()
            return
        self._say(f"{kept.program.name} is ready again")
