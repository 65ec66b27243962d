"""`fs_list` and `fs_tree`."""

import os
from collections.abc import Iterator
from functools import partial
from heapq import nsmallest
from typing import Literal, TypeAlias

from pydantic import Field, JsonValue

from devops_mcp.adapters.base import Listing
from devops_mcp.adapters.filesystem.budget import Budget, StoppedBy
from devops_mcp.adapters.filesystem.client import Filesystem, Sandbox
from devops_mcp.adapters.filesystem.listing import (
    PATH,
    Entry,
    PagedParams,
    bad_cursor,
    entry_of,
    read_cursor,
    read_names,
    status_of,
    write_cursor,
)
from devops_mcp.adapters.filesystem.walk import MAX_DEPTH, Walk

Sort: TypeAlias = Literal["name", "modified", "size"]
Rank: TypeAlias = tuple[int, str]
USUALLY_SKIPPED = ("node_modules", ".venv", "__pycache__")


class ListFolderParams(PagedParams):
    path: str = Field(default="", max_length=4_096, description=f"Folder, {PATH} Empty: the roots.")
    sort: Sort = Field(default="name", description="By name, newest change first, or largest first.")


class TreeParams(PagedParams):
    path: str = Field(max_length=4_096, description=f"Folder to begin at, {PATH}")
    depth: int = Field(default=3, ge=1, le=MAX_DEPTH, description="Levels to go down.")
    exclude: tuple[str, ...] = Field(
        default=USUALLY_SKIPPED, max_length=50, description="Names of folders that are not entered."
    )


class Folder(Listing[Entry]):
    """`total` counts the whole folder."""


class Tree(Listing[Entry]):
    """Each folder stands before its content. `stopped_by` says what ran out when a page ends early; `next_cursor` goes on from there."""

    stopped_by: StoppedBy | None = None


async def list_folder(client: Filesystem, params: ListFolderParams) -> Folder:
    """List one folder: names with kind, size and time of change. With no path it lists the roots, where every path begins."""
    return await client.run(partial(_list, params))


async def tree(client: Filesystem, params: TreeParams) -> Tree:
    """List a folder and what is below it, in order, to learn how a project is laid out. Links and other mounts are shown, not entered."""
    return await client.run(partial(_tree, params))


def _list(params: ListFolderParams, sandbox: Sandbox, budget: Budget) -> Folder:
    if params.path in ("", ".", "/"):
        return _list_roots(sandbox)
    location = sandbox.locate(params.path)
    after = _read_rank(params)
    counted = 0

    def ranked(folder: int) -> Iterator[tuple[Rank, os.DirEntry[str]]]:
        nonlocal counted
        for entry in sandbox.entries(folder, location, budget):
            counted += 1
            rank = _rank(entry, params.sort)
            if after is None or rank > after:
                yield rank, entry

    with sandbox.folder(location) as folder:
        first = nsmallest(params.limit + 1, ranked(folder), key=lambda pair: pair[0])
        page = first[: params.limit]
        items = [entry_of(location.child(entry.name), status_of(entry)) for _, entry in page]
    more = len(first) > params.limit
    return Folder(
        items=items, total=counted, next_cursor=write_cursor(params.sort, *page[-1][0]) if more else None
    )


def _list_roots(sandbox: Sandbox) -> Folder:
    roots = [Entry(path=name, kind="folder") for name in sandbox.roots]
    return Folder(items=roots, total=len(roots))


def _rank(entry: os.DirEntry[str], sort: Sort) -> Rank:
    """Ascending in the wanted order; names decide between equals."""
    if sort == "name" or (status := status_of(entry)) is None:
        return 0, entry.name
    return -(status.st_mtime_ns if sort == "modified" else status.st_size), entry.name


def _read_rank(params: ListFolderParams) -> Rank | None:
    if params.cursor is None:
        return None
    match read_cursor(params.cursor):
        case [params.sort, int(number), str(name)]:
            return number, name
        case _:
            raise bad_cursor()


def _tree(params: TreeParams, sandbox: Sandbox, budget: Budget) -> Tree:
    start = sandbox.locate(params.path)
    after = read_names(read_cursor(params.cursor), start, sandbox) if params.cursor is not None else ()
    walk = Walk(sandbox, budget, params.depth, frozenset(params.exclude))
    items: list[Entry] = []
    last = after
    more = False
    for visit in walk.run(start, after):
        names = visit.location.below(start)
        if names == after:
            continue
        if len(items) == params.limit:
            more = True
            break
        items.append(entry_of(visit.location, status_of(visit.entry)))
        last = names
    goes_on = more or budget.stopped_by is not None
    return Tree(items=items, next_cursor=_cursor(last) if goes_on else None, stopped_by=budget.stopped_by)


def _cursor(names: tuple[str, ...]) -> str:
    values: tuple[JsonValue, ...] = names
    return write_cursor(*values)
