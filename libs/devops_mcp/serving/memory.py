"""What the process gives back of its memory."""

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 2**20
_SPARE = 4 * 2**20


def give_back_large_blocks() -> None:
    """Let glibc take memory for large blocks, as bodies are, from the system each time, and return it when they are freed.

    It does so by itself up to the first that is freed; from then on it puts blocks of up to that size among the small ones, whose
    neighbours keep it. What `MALLOC_…` in the environment says is left to the operator. Other C libraries are left as they are.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _SPARE)
