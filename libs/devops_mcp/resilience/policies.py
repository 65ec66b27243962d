"""The policies of one system together, and those of all systems by key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devops_mcp.resilience.breaker import Breaker, BreakerSnapshot
from devops_mcp.resilience.bulkhead import Bulkhead, BulkheadSnapshot
from devops_mcp.resilience.retry import Retry, RetrySnapshot


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    breaker: BreakerSnapshot
    bulkhead: BulkheadSnapshot
    retry: RetrySnapshot


@dataclass(frozen=True, slots=True)
class Policies:
    """What stands between us and one integration. Nothing in it is shared with another."""

    breaker: Breaker
    bulkhead: Bulkhead
    retry: Retry = field(default_factory=Retry)

    @classmethod
    def named(cls, name: str) -> "Policies":
        """The usual policies for the integration `name`."""
        return cls(Breaker(name), Bulkhead(name))

    def snapshot(self) -> PolicySnapshot:
        return PolicySnapshot(self.breaker.snapshot(), self.bulkhead.snapshot(), self.retry.snapshot())


class PolicyTable:
    """The policies by key, made when first asked for; they outlive the connections that use them."""

    def __init__(self, make: Callable[[str], Policies] = Policies.named) -> None:
        self._make = make
        self._policies: dict[str, Policies] = {}

    def of(self, key: str, name: str | None = None) -> Policies:
        """Those of `key`; what they refuse they call by the `name` that callers know, else by the key."""
        if key not in self._policies:
            self._policies[key] = self._make(name or key)
        return self._policies[key]

    def forget(self, key: str) -> None:
        """Drop the policies of an integration that is gone."""
        self._policies.pop(key, None)

    def snapshot(self) -> Mapping[str, PolicySnapshot]:
        return {key: policies.snapshot() for key, policies in self._policies.items()}
