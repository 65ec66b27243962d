"""Patterns of event types that somebody relies on: one that no event can fit would wait in silence."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from devops_mcp.events.model import TYPES
from devops_mcp.models.errors import InvalidInput, Violation


def require_possible(patterns: Iterable[str], where: str) -> None:
    """Raises `InvalidInput` for the first pattern that fits no type of event; `where` is where they were given."""
    for index, pattern in enumerate(patterns):
        if not any(fnmatchcase(type_, pattern) for type_ in TYPES):
            problem = f"no event has a type like {pattern!r}; there are: {', '.join(TYPES)}"
            raise InvalidInput(f"types: {problem}", (Violation(f"{where}.{index}", problem),))
