"""LocalStack's SQS as a process of this machine, in an environment of its own: it pins other versions of what we use.

`python tests/support/localstack.py` installs it into `.build/localstack`, which `make test-systems` does before the tests.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from devops_mcp.embedded.ports import LOOPBACK, free_port
from devops_mcp.embedded.probes import answers_ok

REQUIREMENTS = (
    "localstack-core[runtime]==4.13.1",
    # What it says it needs allows versions that it does not run with, and leaves one out.
    "cbor2<5.8",
    "pyopenssl<26",
    "service-identity>=24,<25",
)
_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / ".build" / "localstack"
_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0


def ensure_installed(folder: Path = _FOLDER) -> Path:
    """Install LocalStack if these requirements are not there yet; return its Python."""
    python, marker = folder / "bin" / "python", folder / ".installed"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name("localstack.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists() or marker.read_text() != _wanted():
            _uv("venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder))
            _uv("pip", "install", "--quiet", "--python", str(python), *REQUIREMENTS)
            marker.write_text(_wanted())
    return python


class LocalStack:
    """SQS only, on a free port, without Docker, and without a call to the outside: no analytics, certificates, updates or DNS."""

    def __init__(self, python: Path, state: Path) -> None:
        self._python = python
        self._state = state
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    async def start(self) -> None:
        log = self._state / "localstack.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [self._python, "-m", "localstack.runtime.main"],
                env=self._environment(),
                cwd=self._state,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        async with asyncio.timeout(_READY_WITHIN_S):
            while not await answers_ok(self._port, "/_localstack/health"):
                assert self._process.poll() is None, log.read_text()
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN_S)
        finally:
            os.killpg(self._process.pid, signal.SIGKILL) if self._process.poll() is None else None

    def _environment(self) -> dict[str, str]:
        address = f"{LOOPBACK}:{self._port}"
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._state),
            "FILESYSTEM_ROOT": str(self._state / "files"),
            "SERVICES": "sqs",
            "STRICT_SERVICE_LOADING": "1",
            "GATEWAY_LISTEN": address,
            "LOCALSTACK_HOST": address,
            "SQS_ENDPOINT_STRATEGY": "path",
            "SQS_DISABLE_CLOUDWATCH_METRICS": "1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0",
        }


def _wanted() -> str:
    return "\n".join(REQUIREMENTS) + "\n"


def _uv(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, *arguments], check=True)


if __name__ == "__main__":
    ensure_installed()
