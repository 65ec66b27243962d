"""Services as copies of the process that starts them (Linux): it imports once what all of them would take seconds to import.

Elsewhere what a process has loaded may not outlast a fork, and services are programs as any other.
"""

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

_OF_ALL, _REGISTRY = "worker.__main__", "devops_mcp.adapters.registry"
_PR_SET_NAME = 15
_OUTPUT = (0, 1, 2)


@contextmanager
def uncollected() -> Iterator[None]:
    """For imports: what they leave is no garbage, and to look for some among it takes an eighth of their time.

    Nor is it looked at later, and so no collection makes a copy's pages its own.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def copied(module: str) -> Callable[[], None] | None:
    """What a copy of this process runs to be that service; None where it has to be started as a program.

    What only one service imports its copy does, on another core than those of the others.
    """
    if sys.platform != "linux":
        return None
    with uncollected():
        import_module(_OF_ALL)
        import_module(_REGISTRY).load_adapters()
    return partial(_serve, module)


def _serve(module: str) -> None:
    with uncollected():
        main: Callable[[], None] = import_module(f"{module}.__main__").main
    main()


def become(name: str, main: Callable[[], None], environment: Mapping[str, str]) -> NoReturn:
    """Be that service, in a process that was forked off a moment ago and has nothing yet but its output; never returns."""
    _forget_the_parent()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [name]
    # Not the parent's, which may hold what it has not written yet.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    code = 1
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = 0 if ended.code is None else ended.code if isinstance(ended.code, int) else 1
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forget_the_parent() -> None:
    """Its handlers of signals, and its files, whose numbers stay taken in case that one of its objects closes them.

    Among them is the pipe on which `subprocess` awaits either the program or its failure: closed, it tells of a program.
    """
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDWR)
    for entry in Path("/proc/self/fd").iterdir():
        if (file := int(entry.name)) not in (*_OUTPUT, nothing):
            os.dup2(nothing, file, inheritable=False)
