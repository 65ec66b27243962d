"""The sandbox: every file that a tool touches is reached through it, beneath the descriptor of a configured root.

Roots are opened anew for each call, by the operator's path; from there on no name is ever resolved as a path of the machine.
"""

import errno
import os
import stat
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from time import monotonic
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from devops_mcp.adapters.filesystem.beneath import FOLDER, Opener, best_opener
from devops_mcp.adapters.filesystem.budget import Budget
from devops_mcp.adapters.filesystem.config import FilesystemSettings, RootSettings
from devops_mcp.adapters.filesystem.paths import DenyRules, Location, parse_location
from devops_mcp.models.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PlatformError,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)

T = TypeVar("T")
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file, open for reading."""

    location: Location
    descriptor: int
    stat: os.stat_result


class Sandbox:
    """The configured roots. All methods block, and raise our errors instead of `OSError`."""

    def __init__(self, settings: FilesystemSettings, opener: Opener | None = None) -> None:
        self.settings = settings
        self.roots = tuple(sorted(settings.roots))
        self._open = opener or best_opener()
        self._deny = DenyRules(settings.deny)

    def locate(self, path: str) -> Location:
        """The place that an agent's path names; raises `Forbidden` for closed names, whether they exist or not."""
        location = parse_location(path, self.roots)
        if (closed := self._deny.closed_part(location)) is not None:
            raise Forbidden(f"{location} is closed: {closed!r} matches a deny pattern of this integration")
        return location

    def is_closed(self, location: Location) -> bool:
        return self._deny.closed_part(location) is not None

    def root(self, location: Location) -> RootSettings:
        return self.settings.roots[location.root]

    def require_writable(self, location: Location) -> None:
        if self.root(location).read_only:
            open_ones = [name for name in self.roots if not self.settings.roots[name].read_only]
            raise Forbidden(
                f"root {location.root!r} is read-only; writable roots: {', '.join(open_ones) or 'none'}"
            )

    @contextmanager
    def folder(self, location: Location) -> Iterator[int]:
        """The descriptor of a folder."""
        with translated(Location(location.root)):
            root = os.open(self.root(location).path, FOLDER)
        try:
            with translated(location):
                descriptor = self._open(root, location.parts, FOLDER)
        finally:
            os.close(root)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def subfolder(self, folder: int, location: Location) -> Iterator[int]:
        """The descriptor of the folder `location`, whose parent is open as `folder`."""
        with translated(location):
            descriptor = self._open(folder, (location.name,), FOLDER)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def parent(self, location: Location) -> Iterator[int]:
        """The descriptor of the folder that holds `location`; raises `InvalidInput` when that is a root itself."""
        if not location.parts:
            raise InvalidInput(f"{location} is a root; name a file or folder in it")
        with self.folder(location.parent) as descriptor:
            yield descriptor

    @contextmanager
    def file(self, location: Location) -> Iterator[OpenFile]:
        """A regular file, opened for reading."""
        with self.parent(location) as folder, self.file_in(folder, location) as file:
            yield file

    @contextmanager
    def file_in(self, folder: int, location: Location) -> Iterator[OpenFile]:
        """The regular file `location`, whose parent is open as `folder`.

        Looked at before it is opened, because opening a FIFO or a device can do something; and again afterwards, because it may have
        been swapped in between.
        """
        self._require_regular(location, self.look(folder, location))
        with translated(location):
            descriptor = self._open(folder, (location.name,), _READ)
        try:
            status = os.fstat(descriptor)
            self._require_regular(location, status)
            yield OpenFile(location, descriptor, status)
        finally:
            os.close(descriptor)

    def look(self, folder: int, location: Location) -> os.stat_result:
        """What is there, a symbolic link seen as itself."""
        with translated(location):
            return os.stat(location.name, dir_fd=folder, follow_symlinks=False)

    def status(self, location: Location) -> os.stat_result:
        """`look` by location alone; also for roots."""
        if not location.parts:
            with self.folder(location) as descriptor:
                return os.fstat(descriptor)
        with self.parent(location) as folder:
            return self.look(folder, location)

    def entries(self, folder: int, location: Location, budget: Budget) -> Iterator[os.DirEntry[str]]:
        """The entries of an open folder in the order of the disk, without closed ones."""
        with translated(location), os.scandir(folder) as found:
            for entry in found:
                budget.require_time()
                if not self._deny.closes(entry.name):
                    yield entry

    def check_roots(self) -> None:
        """Open every root once; raises the first error."""
        for name in self.roots:
            with self.folder(Location(name)) as descriptor, translated(Location(name)):
                os.scandir(descriptor).close()

    def _require_regular(self, location: Location, status: os.stat_result) -> None:
        if stat.S_ISLNK(status.st_mode):
            raise Forbidden(f"{location} is a symbolic link, which is not followed; name the file itself")
        if stat.S_ISDIR(status.st_mode):
            raise InvalidInput(f"{location} is a folder; list it with fs_list")
        if not stat.S_ISREG(status.st_mode):
            raise Forbidden(f"{location} is a {kind_of(status.st_mode)}, not a regular file")
        if status.st_nlink > 1 and not self.root(location).allow_hard_links:
            raise Forbidden(
                f"{location} has {status.st_nlink} hard links, and another may lie outside of the root; "
                "the operator can set allow_hard_links for it"
            )


class Filesystem:
    """The adapter's client: runs work on the sandbox in threads, a bounded number at a time.

    A call that is cancelled stops waiting at once. Its thread ends at its next look at the budget; until then it counts as busy, so
    that a disk that hangs can hold 2 x `threads` threads and no more.
    """

    def __init__(self, sandbox: Sandbox, now: Callable[[], float] = monotonic) -> None:
        self._sandbox = sandbox
        self._now = now
        self._limiter = CapacityLimiter(sandbox.settings.threads)
        self._threads = BoundedSemaphore(2 * sandbox.settings.threads)

    async def run(self, work: Callable[[Sandbox, Budget], T]) -> T:
        """The result of `work`, done in a thread with a budget of its own."""
        settings = self._sandbox.settings
        budget = Budget(
            seconds=settings.timeout_s,
            entries=settings.max_entries,
            size=settings.max_scan_bytes,
            now=self._now,
        )
        try:
            return await to_thread.run_sync(
                self._work, work, budget, abandon_on_cancel=True, limiter=self._limiter
            )
        except CancelledError:
            budget.cancel()
            raise

    def _work(self, work: Callable[[Sandbox, Budget], T], budget: Budget) -> T:
        if not self._threads.acquire(blocking=False):
            raise UpstreamUnavailable("all file threads are stuck; the disk under a root does not answer")
        try:
            return work(self._sandbox, budget)
        finally:
            self._threads.release()


def kind_of(mode: int) -> str:
    """What a mode says a thing is: `file`, `folder`, `symlink`, `fifo`, `socket` or `device`."""
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "folder",
        stat.S_IFLNK: "symlink",
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
    }
    return kinds.get(stat.S_IFMT(mode), "device")


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Turn an `OSError` about `location` into one of our errors."""
    try:
        yield
    except OSError as error:
        raise _translation(error, location) from None


def _translation(error: OSError, location: Location) -> PlatformError:
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"{location} does not exist; list its folder with fs_list")
        case errno.ELOOP:
            return Forbidden(
                f"{location} leads through a symbolic link, which is not followed; name the real place"
            )
        case errno.EXDEV:
            return Forbidden(f"{location} is on another mount than its root")
        case errno.ENOTDIR:
            return InvalidInput(f"{location} is not a folder, or leads through a file or a symbolic link")
        case errno.EISDIR:
            return InvalidInput(f"{location} is a folder")
        case errno.EEXIST | errno.ENOTEMPTY:
            return Conflict(f"{location} exists already")
        case errno.EINVAL | errno.ENAMETOOLONG:
            return InvalidInput(f"{location} is refused by the filesystem: {os.strerror(error.errno)}")
        case errno.EACCES | errno.EPERM:
            return UpstreamUnauthorized(f"the account of this service has no right to {location}")
        case errno.EROFS:
            return Forbidden(f"{location} is on a filesystem mounted read-only")
        case errno.ENXIO | errno.ENODEV:
            return Forbidden(f"{location} is a socket or device, not a regular file")
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return UpstreamRejected(
                f"{location} cannot be written: {os.strerror(error.errno)}; free some space first"
            )
        case _:
            return UpstreamUnavailable(
                f"{location} cannot be reached: {error.strerror or type(error).__name__}"
            )
