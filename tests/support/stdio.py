"""`devops-mcp stdio` as a client starts it: a program of its own, spoken to over its standard input and output."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

COMMAND = [sys.executable, "-m", "devops_mcp.cli.main", "stdio"]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, **changes}


@asynccontextmanager
async def bridge(*arguments: str, **changes: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(**changes)
    )
    try:
        async with asyncio.timeout(90):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(process: Process, message: dict) -> dict:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(message).encode() + b"\n")
    return json.loads(await process.stdout.readline())


async def ended(process: Process) -> tuple[int, bytes, str]:
    """The exit code, what is left of standard output, and the one line of standard error."""
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out, err.decode()
