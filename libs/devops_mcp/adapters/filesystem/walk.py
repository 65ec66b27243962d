"""Walking folders in a fixed order, so that a walk can stop anywhere and go on later."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from heapq import nsmallest

from devops_mcp.adapters.filesystem.budget import Budget
from devops_mcp.adapters.filesystem.client import Sandbox
from devops_mcp.adapters.filesystem.paths import Location
from devops_mcp.models.errors import PlatformError

MAX_DEPTH = 32
"""Deepest walk; each level holds one descriptor."""


@dataclass(frozen=True, slots=True)
class Visit:
    """An entry on the way; `folder` is the open descriptor of the folder that holds it, valid until the next step."""

    location: Location
    folder: int
    entry: os.DirEntry[str]


@dataclass(frozen=True, slots=True)
class Walk:
    """Where to walk: `depth` levels below `start`, not into folders named in `exclude`."""

    sandbox: Sandbox
    budget: Budget
    depth: int
    exclude: frozenset[str] = frozenset()

    def run(self, start: Location, after: tuple[str, ...] = ()) -> Iterator[Visit]:
        """Every entry below `start`, each folder before its content, in the order of names; ends when the budget does.

        `after` are names below `start`: the walk takes up again at that entry, which is visited once more. Folders that cannot be
        entered (another mount, no right, gone) are visited and passed over.
        """
        with self.sandbox.folder(start) as descriptor:
            yield from self._below(start, descriptor, self.depth, after)

    def _below(self, here: Location, folder: int, depth: int, after: tuple[str, ...]) -> Iterator[Visit]:
        first = after[0] if after else ""
        found = (entry for entry in self.sandbox.entries(folder, here, self.budget) if entry.name >= first)
        for entry in nsmallest(self.budget.entries + 1, found, key=_by_name):
            if not self.budget.take_entry():
                return
            location = here.child(entry.name)
            rest = after[1:] if entry.name == first else ()
            if not rest:
                yield Visit(location, folder, entry)
            if depth > 1 and entry.name not in self.exclude and is_folder(entry):
                yield from self._enter(location, folder, depth - 1, rest)

    def _enter(self, location: Location, folder: int, depth: int, after: tuple[str, ...]) -> Iterator[Visit]:
        with suppress(PlatformError), self.sandbox.subfolder(folder, location) as descriptor:
            yield from self._below(location, descriptor, depth, after)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder itself, not a link to one; what cannot be looked at is none."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _by_name(entry: os.DirEntry[str]) -> str:
    return entry.name
