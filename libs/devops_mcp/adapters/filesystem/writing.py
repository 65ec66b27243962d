"""Changing files: a new file is written beside the old one and renamed over it, so that a reader sees the one or the other.

Writers of this suite exclude each other by a lock on the folder (flock, where its filesystem has it). Others are noticed when they
changed the file up to the moment before the rename. The new file keeps mode and, for root, owner; not access lists or extended attributes.
"""

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from devops_mcp.adapters.filesystem.beneath import rename_without_replacing
from devops_mcp.adapters.filesystem.budget import Budget
from devops_mcp.adapters.filesystem.client import OpenFile, Sandbox, translated
from devops_mcp.adapters.filesystem.paths import TEMPORARY, Location
from devops_mcp.models.errors import Conflict, NotFound

NEW_FILE_MODE = 0o644
NEW_FOLDER_MODE = 0o755
_LOCK_EVERY_S = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """A file about to be written: its folder, open and locked, and what is there now."""

    location: Location
    folder: int
    present: os.stat_result | None


@contextmanager
def target(sandbox: Sandbox, location: Location, budget: Budget, *, lock: bool) -> Iterator[Target]:
    """Open the folder of `location` for a write; `lock` keeps other writers of this suite out meanwhile."""
    sandbox.require_writable(location)
    with sandbox.parent(location) as folder:
        if lock:
            _lock(folder, location.parent, budget)  # given back when the descriptor is closed
        try:
            present = sandbox.look(folder, location)
        except NotFound:
            present = None
        yield Target(location, folder, present)


def write_new(place: Target, data: bytes, budget: Budget) -> None:
    """Create the file; raises `Conflict` when there is one by now."""
    with _temporary(place, data, NEW_FILE_MODE, budget) as name, translated(place.location):
        rename_without_replacing(place.folder, name, place.folder, place.location.name)


def write_over(place: Target, read: OpenFile, data: bytes, budget: Budget) -> None:
    """Replace the file that was `read`; raises `Conflict` when there is another by now."""
    with _temporary(place, data, read.stat.st_mode & 0o777, budget) as name, translated(place.location):
        if os.geteuid() == 0:
            os.chown(name, read.stat.st_uid, read.stat.st_gid, dir_fd=place.folder, follow_symlinks=False)
        now = os.stat(place.location.name, dir_fd=place.folder, follow_symlinks=False)
        if _identity(now) != _identity(read.stat):
            raise Conflict(f"{place.location} was changed by another meanwhile; read it again")
        os.rename(name, place.location.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)


def make_folders(sandbox: Sandbox, location: Location) -> list[Location]:
    """Make a folder and those above it that are missing; the ones made, outermost first."""
    made: list[Location] = []
    for depth in range(1, len(location.parts) + 1):
        here = Location(location.root, location.parts[:depth])
        with sandbox.parent(here) as folder, translated(here), suppress(FileExistsError):
            os.mkdir(here.name, NEW_FOLDER_MODE, dir_fd=folder)
            made.append(here)
    with sandbox.folder(location):  # raises when the last name is no folder
        return made


def move(sandbox: Sandbox, source: Location, destination: Location) -> None:
    """Rename; raises `Conflict` when the new name is taken."""
    with sandbox.parent(source) as old, sandbox.parent(destination) as new, translated(destination):
        rename_without_replacing(old, source.name, new, destination.name)
        for folder in (old, new):
            os.fsync(folder)


@contextmanager
def _temporary(place: Target, data: bytes, mode: int, budget: Budget) -> Iterator[str]:
    """A file beside the target with its new content, on the disk; gone after the block unless it was renamed."""
    name = TEMPORARY.replace("*", secrets.token_hex(8))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with translated(place.location):
        descriptor = os.open(name, flags, 0o600, dir_fd=place.folder)
    try:
        with translated(place.location), os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        budget.require_time()
        yield name
        with translated(place.location):
            os.fsync(place.folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place.folder)


def _lock(folder: int, location: Location, budget: Budget) -> None:
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            budget.require_time()
            time.sleep(_LOCK_EVERY_S)
        except OSError as error:
            if error.errno in (errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                return None
            with translated(location):
                raise


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
