"""What is wrong in one place: a payload for translations that must refuse it or cope, and a secret."""

import copy
from collections.abc import Iterator
from typing import Any

FOREIGN: tuple[Any, ...] = (None, [], {}, [None], "", "x", "2026-13-01T99:99:99Z", -1, 1e300, True, 10**18)


def mutations(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each field at any depth (of lists the first item) left out, then as each of `FOREIGN`."""
    for path in _paths(body):
        missing = copy.deepcopy(body)
        del _holder(missing, path)[path[-1]]
        yield missing
        for value in FOREIGN:
            changed = copy.deepcopy(body)
            _holder(changed, path)[path[-1]] = value
            yield changed


def altered(secret: str) -> str:
    """Another one of the same form. (A fixed ending in place of its own would now and then be its own.)"""
    middle = len(secret) // 2
    return secret[:middle] + ("B" if secret[middle] == "A" else "A") + secret[middle + 1 :]


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, inner in items:
        yield (*at, key)
        if isinstance(inner, dict | list):
            yield from _paths(inner, (*at, key))


def _holder(body: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        body = body[key]
    return body
