"""Opening and renaming beneath a folder's descriptor, so that no name can lead outside of it.

On Linux one call does it: openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS and RESOLVE_NO_XDEV. Elsewhere, and
where a container's seccomp profile hides openat2, the path is walked name by name with O_NOFOLLOW. The walk notices another mount by
its device number; a bind mount of the same filesystem looks like a plain folder to it.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

FOLDER = os.O_RDONLY | os.O_DIRECTORY
Opener = Callable[[int, Sequence[str], int], int]
"""`(folder, names, flags)`: a new descriptor for the place reached from `folder`. Raises `OSError`."""

_OPENAT2 = 437  # the same on every architecture that CPython has wheels for
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_RENAME_NOREPLACE = 0x1  # Linux, renameat2(2)
_RENAME_EXCL = 0x4  # macOS, renameatx_np(2)
_TRIES = 16
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def open_by_openat2(folder: int, names: Sequence[str], flags: int) -> int:
    """An `Opener`: the kernel keeps the whole way beneath `folder`, off symbolic links and on its mount (EXDEV, ELOOP)."""
    path = os.fsencode("/".join(names) or ".")
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
    code = errno.EAGAIN
    for _ in range(_TRIES):  # EAGAIN: something was renamed under the kernel's feet
        descriptor = _libc().syscall(
            ctypes.c_long(_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(path), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
        )  # fmt: skip
        if descriptor >= 0:
            return int(descriptor)
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code))


def open_by_walking(folder: int, names: Sequence[str], flags: int) -> int:
    """An `Opener` of one open(2) a name, none of which follows a link."""
    device = os.fstat(folder).st_dev
    here = os.open(".", _THROUGH if names else flags | os.O_CLOEXEC, dir_fd=folder)
    for index, name in enumerate(names, start=1):
        try:
            child = _open_name(here, name, flags if index == len(names) else _THROUGH)
        finally:
            os.close(here)
        here = child
        if os.fstat(here).st_dev != device:
            os.close(here)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return here


def _open_name(folder: int, name: str, flags: int) -> int:
    if name in ("", ".", "..") or "/" in name:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


@cache
def best_opener() -> Opener:
    """`open_by_openat2` where the kernel answers it, else `open_by_walking`."""
    if sys.platform != "linux":
        return open_by_walking
    root = os.open("/", FOLDER)
    try:
        os.close(open_by_openat2(root, (), FOLDER))
    except OSError:
        return open_by_walking
    finally:
        os.close(root)
    return open_by_openat2


def rename_without_replacing(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
    """Rename; raises `FileExistsError` when the new name is taken, in one step where the system offers that."""
    call, flag = (
        ("renameat2", _RENAME_NOREPLACE) if sys.platform == "linux" else ("renameatx_np", _RENAME_EXCL)
    )
    rename = getattr(_libc(), call, None)
    if rename is not None:
        if rename(from_folder, os.fsencode(name), to_folder, os.fsencode(new_name), ctypes.c_uint(flag)) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP) and not _flag_unknown(
            code, from_folder, name
        ):
            raise OSError(code, os.strerror(code))
    rename_in_steps(from_folder, name, to_folder, new_name)


def rename_in_steps(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
    """The same without the system's help: a file is linked, then unlinked; of folders, an empty one could be lost in a race."""
    if stat.S_ISDIR(os.stat(name, dir_fd=from_folder, follow_symlinks=False).st_mode):
        with suppress(FileNotFoundError):
            os.stat(new_name, dir_fd=to_folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(name, new_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)
        return
    os.link(name, new_name, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
    os.unlink(name, dir_fd=from_folder)


def _flag_unknown(code: int, folder: int, name: str) -> bool:
    """EINVAL means for a file that its filesystem lacks the flag; for a folder, that it would move into itself."""
    if code != errno.EINVAL:
        return False
    return not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
