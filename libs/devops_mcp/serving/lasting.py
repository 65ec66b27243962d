"""What lasts as long as its client likes: WebSockets, streams, answers that are read slowly. Nobody has all that a process can hold.

Counted in this process: another replica counts its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from devops_mcp.models.errors import RateLimited
from devops_mcp.models.principals import Principal

T = TypeVar("T")

TENANTS_FACTOR = 2
"""So many times as many as a caller may have the callers of a tenant together."""
REASON = "too_many_of_one"
_AGAIN_S = 10.0


class Lasting:
    """Of `connections` that the process takes a caller has `of_one` at most, and no more than half of them; a tenant four fifths.

    A user and the keys that act for it are one caller. `of_one` 0: no limit. `count` hears why one was refused; `what` they are
    says the refusal.
    """

    def __init__(self, connections: int, of_one: int, count: Callable[[str], None], what: str) -> None:
        self._of_one = max(min(of_one, connections // 2), 1) if of_one else connections
        self._of_tenant = (
            max(min(of_one * TENANTS_FACTOR, connections * 4 // 5), 1) if of_one else connections
        )
        self._callers: Counter[str] = Counter()
        self._tenants: Counter[UUID] = Counter()
        self._count = count
        self._what = what

    @contextmanager
    def held(self, principal: Principal) -> Iterator[None]:
        """Count one of the principal's within the block; raises `RateLimited` for one too many."""
        caller, tenant_id = principal.caller, principal.tenant_id
        if self._callers[caller] >= self._of_one:
            raise self._refusal(self._of_one, "this caller")
        if self._tenants[tenant_id] >= self._of_tenant:
            raise self._refusal(self._of_tenant, "this tenant's callers")
        self._callers[caller] += 1
        self._tenants[tenant_id] += 1
        try:
            yield
        finally:
            _less(self._callers, caller)
            _less(self._tenants, tenant_id)

    def _refusal(self, most: int, whose: str) -> RateLimited:
        self._count(REASON)
        return RateLimited(
            f"{most} {self._what} of {whose} are open here; close one first", retry_after_s=_AGAIN_S
        )


def _less(counts: Counter[T], whose: T) -> None:
    counts[whose] -= 1
    if not counts[whose]:
        del counts[whose]
