"""From where the request at hand came, for what is written down about it."""

from contextvars import ContextVar

_ADDRESS: ContextVar[str | None] = ContextVar("caller_address", default=None)


def set_address(address: str | None) -> None:
    """Say it for all that this request leads to; the address is the client's, behind the proxies that the operator trusts."""
    _ADDRESS.set(address)


def current_address() -> str | None:
    """None where nobody asked, as in the worker."""
    return _ADDRESS.get()
