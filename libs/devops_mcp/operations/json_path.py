"""A JSON path, evaluated in a process of its own that has so much time and memory.

A path of a few characters can compare every part of a document with every other, or match a regular expression that tries for ever. Neither
can be interrupted where it runs, and everything else in that process waits for it.
"""

import asyncio
import os
import sys
from contextlib import suppress

import orjson
import structlog

from devops_mcp.models.errors import Internal, InvalidInput, Violation

CPU_S = 5
AT_ONCE = 2
MAX_FOUND_BYTES = 8 * 2**20
_MEMORY_BYTES = 2**30
_WRONG, _TOO_LARGE, _TOO_MUCH = 64, 65, 66
_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
"""Of the environment; the rest holds secrets."""
log = structlog.get_logger()


class JsonPaths:
    """Evaluates `AT_ONCE` paths at the same time, each for `cpu_s` at most; others wait."""

    def __init__(self, *, cpu_s: int = CPU_S) -> None:
        self._cpu_s = cpu_s
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def select(self, document: str, path: str) -> str:
        """What the path (RFC 9535) selects, as indented JSON; raises `InvalidInput` where it is none, or asks for too much."""
        async with self._turns:
            code, said = await self._evaluated(orjson.dumps(path) + b"\n" + document.encode())
        if code == 0:
            return said.decode()
        if code == _WRONG:
            raise _refused(f"not a JSON path (RFC 9535): {said.decode()}")
        if code == _TOO_LARGE:
            raise _refused(f"the path selects more than {MAX_FOUND_BYTES} bytes; select less")
        if code == _TOO_MUCH or (code is not None and code < 0):  # killed
            bounds = (
                f"takes more than {self._cpu_s} s or too much memory, or selects what is nested too deeply"
            )
            raise _refused(f"the path {bounds}; ask for less with it")
        log.error("JSON path not evaluated", exit_code=code)
        raise Internal("the path could not be evaluated")

    async def _evaluated(self, asked: bytes) -> tuple[int | None, bytes]:
        """The exit code of the process, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", __name__, str(self._cpu_s)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
        )
        try:
            said, _ = await process.communicate(asked)
        finally:
            if process.returncode is None:  # nobody waits for it any more
                process.kill()
                await process.wait()
        return process.returncode, said


def _refused(problem: str) -> InvalidInput:
    return InvalidInput(problem, (Violation("arguments.json_path", problem),))


def _main(cpu_s: int) -> int:
    """Evaluate the path in the first line of the input on the document after it."""
    import resource  # only this process needs them

    import jsonpath

    os.nice(5)  # whoever is being answered meanwhile comes first
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    with suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        path = orjson.loads(sys.stdin.buffer.readline())
        document = orjson.loads(sys.stdin.buffer.read())
        found = orjson.dumps(jsonpath.findall(path, document), option=orjson.OPT_INDENT_2)
    except jsonpath.JSONPathError as error:
        sys.stdout.buffer.write(str(error).encode())
        return _WRONG
    except (MemoryError, RecursionError, orjson.JSONEncodeError):
        return _TOO_MUCH
    if len(found) > MAX_FOUND_BYTES:
        return _TOO_LARGE
    sys.stdout.buffer.write(found)
    return 0


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1])))
