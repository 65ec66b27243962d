"""Passwords: argon2id, off the event loop, a few at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import SecretStr

from devops_mcp.models.errors import Unavailable

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")

AT_ONCE = 2
"""Threads that hash. Each holds 46 MiB and a core for some 50 ms."""
WAITING = 64
"""More than these are turned away, so that a flood of logins ends in refusals and not in memory."""


class Passwords:
    """Hashes and verifies. The cost is OWASP's first choice for argon2id: 46 MiB, one pass, one lane."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._waiting = 0
        self._nobody: str | None = None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: SecretStr) -> str:
        """The hash to keep, with its salt and cost. Raises `Unavailable` when too many wait."""
        return await self._run(self._hash, password.get_secret_value())

    async def matches(self, hashed: str | None, password: SecretStr) -> bool:
        """Whether `password` is that of `hashed`. Where there is none, it takes the same time and is not."""
        return await self._run(self._verify, hashed, password.get_secret_value())

    def is_outdated(self, hashed: str) -> bool:
        """Whether it was made at another cost than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def _verify(self, hashed: str | None, password: str) -> bool:
        if hashed is None and self._nobody is None:
            self._nobody = self._hash("nobody has this one")
        try:
            self._hasher.verify(hashed or self._nobody or "", password)
        except (VerificationError, InvalidHashError):
            return False
        return hashed is not None

    async def _run(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        if self._waiting >= WAITING:
            raise Unavailable("too many logins at once; try again", retry_after_s=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1
