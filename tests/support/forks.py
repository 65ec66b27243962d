"""Services as processes of their own that have no importing to do: `zygote.py` forks them from itself."""

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_ZYGOTE = Path(__file__).with_name("zygote.py")


class Forks:
    """A zygote. Its services end with it, and it with this process."""

    def __init__(self, *, quick: bool = False) -> None:
        path = os.pathsep.join([str(_ZYGOTE.parents[1]), os.environ.get("PYTHONPATH", "")])
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(_ZYGOTE), *(["--quick"] if quick else [])],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._heard()

    def start(self, module: str, environment: Mapping[str, str], log: Path) -> int:
        """Start `python -m MODULE`, which writes to this log; its process id."""
        told = {"module": module, "environment": dict(environment), "log": str(log)}
        with self._asking:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            self._process.stdin.flush()
            return int(self._heard()["pid"])

    def close(self) -> None:
        self._process.communicate()

    def _heard(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote ended"
        return dict(json.loads(line))


@cache
def shared_forks() -> Forks:
    """The one of this test process, from its first use to the end of the process."""
    forks = Forks()
    atexit.register(forks.close)
    return forks


def how_it_ended(pid: int, log: Path) -> int | None:
    """The exit code of a service, negative for a signal; None while it runs."""
    try:
        said = Path(f"{log}.{pid}").read_text()
    except FileNotFoundError:
        return None
    return int(said) if said.endswith("\n") else None
