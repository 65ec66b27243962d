"""The whole suite as `make run` starts it, in a state folder and on ports of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devops_mcp.embedded.postgres import remove_data_folder

_READY_WITHIN_S = 120.0
_STOP_WITHIN_S = 40.0
_FREE_PORTS = {
    f"DEVOPS_MCP_{name}": "0"
    for name in (
        "REST__PORT",
        "MCP__PORT",
        "WORKER__PORT",
        "EMBEDDED_POSTGRES_PORT",
        "EMBEDDED_REDIS_PORT",
        "EMBEDDED_SQS_PORT",
        "EMBEDDED_GITHUB_PORT",
    )
}


@dataclass(frozen=True)
class Suite:
    """A started suite. `addresses` is what it wrote to `run.json` when it became ready."""

    process: subprocess.Popen[bytes]
    state: Path
    output: Path
    addresses: Mapping[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.addresses['api_key']}"}

    @property
    def pids(self) -> dict[str, int]:
        """The processes as `run.json` names them now."""
        return json.loads((self.state / "run.json").read_text())["pids"]

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Tell the supervisor to stop and wait for its end; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(_STOP_WITHIN_S)

    def said(self) -> str:
        """Everything the terminal was told."""
        return self.output.read_text()

    def wait_until_said(self, text: str, *, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.said():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} was not said within {within_s:g} s:\n{self.said()}")
            time.sleep(0.02)


def start_suite(state: Path, environment: Mapping[str, str] | None = None) -> Suite:
    """Start the suite and wait until it is ready. Raises with what it said when it is not."""
    state.mkdir(parents=True, exist_ok=True)
    output = state / "terminal.log"
    with output.open("wb") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "devops_mcp.embedded", "run", "--end-with-parent", "--state", str(state)],
            env={**os.environ, **_FREE_PORTS, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        )
    return Suite(process, state, output, _wait_for_addresses(process, state / "run.json", output))


@contextlib.contextmanager
def running_suite(state: Path, environment: Mapping[str, str] | None = None) -> Iterator[Suite]:
    """A started suite that is stopped at the end of the block, with its database deleted."""
    try:
        suite = start_suite(state, environment)
        try:
            yield suite
        finally:
            if suite.process.poll() is None:
                suite.stop()
    finally:
        remove_data_folder(state / "postgres")


def _wait_for_addresses(process: subprocess.Popen[bytes], file: Path, output: Path) -> dict[str, Any]:
    """What the process wrote; a file of one that was killed names another supervisor."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            addresses: dict[str, Any] = json.loads(file.read_text())
            if addresses["pids"]["supervisor"] == process.pid:
                return addresses
        time.sleep(0.02)
    process.terminate()
    process.wait(_STOP_WITHIN_S)
    raise RuntimeError(f"the suite did not become ready:\n{output.read_text()}")
