"""From where the request at hand came, and whom it is answered for."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, TypeVar
from uuid import UUID
from weakref import ReferenceType, ref

T = TypeVar("T")

_ADDRESS: ContextVar[str | None] = ContextVar("caller_address", default=None)
_CALLER: ContextVar[tuple[UUID, ReferenceType[asyncio.Task[Any]]] | None] = ContextVar("caller", default=None)


def set_address(address: str | None) -> None:
    """Say it for all that this request leads to; the address is the client's, behind the proxies that the operator trusts."""
    _ADDRESS.set(address)


def current_address() -> str | None:
    """None where nobody asked, as in the worker."""
    return _ADDRESS.get()


def set_caller(caller: UUID) -> None:
    """Say whom the task at hand answers; tasks that it starts may outlive that, and answer nobody."""
    task = asyncio.current_task()
    assert task is not None
    _CALLER.set((caller, ref(task)))


def current_caller() -> UUID | None:
    """None for what nobody waits for."""
    said = _CALLER.get()
    return said[0] if said is not None and said[1]() is asyncio.current_task() else None


def for_caller(work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """The work, for a task that this one starts and waits for: it answers whom this one answers."""
    caller = current_caller()
    return work if caller is None else _answering(caller, work)


async def _answering(caller: UUID, work: Coroutine[Any, Any, T]) -> T:
    set_caller(caller)
    return await work
