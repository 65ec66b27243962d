"""Waiting for the end of processes that are not our children."""

import os
import select
from pathlib import Path


def wait_until_gone(pids: list[int], *, within_s: float = 30.0) -> list[int]:
    """Wait for the processes to end; return those that still run after `within_s`."""
    return [pid for pid in pids if not _ends(pid, within_s)]


def descendants(pid: int) -> list[int]:
    """The process ids of the children of `pid`, and of theirs."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*children, *(grandchild for child in children for grandchild in descendants(child))]


def _ends(pid: int, within_s: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable, _, _ = select.select([descriptor], [], [], within_s)
        return bool(readable)
    finally:
        os.close(descriptor)
