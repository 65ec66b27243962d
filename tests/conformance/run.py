"""Run the protocol's conformance suite against the whole platform, as `make run` starts it, with the fixtures as an installed adapter.

`python tests/conformance/run.py [--scenario NAME]`. Prints a line a scenario, and fails if anything was not passed.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import conformance_sign_in  # noqa: E402
from support.authorizing_proxy import authorizing_proxy  # noqa: E402
from support.node import NODE, package  # noqa: E402
from support.suite import start_suite  # noqa: E402
from support.websocket_bridge import websocket_bridge  # noqa: E402

FIXTURES = ROOT / ".build" / "conformance"
SUITE = package("@modelcontextprotocol/conformance") / "dist/index.js"
VIEW = "/x/conformance"
CONFIGURATION = "integrations:\n  - {name: conformance, system: conformance}\n"
REQUIREMENTS = ("2026-07-28", "2025-11-25")
AUTHORIZATION = "authorization"
"""The scenarios for authorization servers, which rest-api is."""
RUNS: Mapping[str, Sequence[Sequence[str]]] = {
    "http": [*(("--requirements", r) for r in REQUIREMENTS), ("--suite", "all")],
    "websocket": [("--requirements", r) for r in REQUIREMENTS],
}
NOT_PASSED = frozenset({"FAILURE", "WARNING"})
WITHIN_S = 600


@dataclass(frozen=True)
class Scenario:
    """A scenario's checks, as the suite wrote them down."""

    name: str
    checks: list[dict[str, Any]]

    @property
    def faults(self) -> list[str]:
        return [
            f"{check['id']}: {check.get('errorMessage') or check['description']}"
            for check in self.checks
            if check["status"] in NOT_PASSED
        ]

    def line(self) -> str:
        passed = sum(check["status"] == "SUCCESS" for check in self.checks)
        skipped = sum(check["status"] == "SKIPPED" for check in self.checks)
        verdict = "FAILED" if self.faults else "passed"
        return f"  {verdict}  {self.name:<50} {passed} checks" + (f", {skipped} skipped" if skipped else "")


async def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        state = Path(folder)
        (state / "config.yaml").write_text(CONFIGURATION)
        environment = {"PYTHONPATH": str(FIXTURES), "DEVOPS_MCP_CONFIG_FILE": str(state / "config.yaml")}
        suite = await asyncio.to_thread(start_suite, state / "state", environment)
        try:
            return await _run_all(suite.addresses, arguments, state)
        finally:
            await asyncio.to_thread(suite.stop)


async def _run_all(addresses: Mapping[str, Any], arguments: argparse.Namespace, state: Path) -> int:
    port, key = int(addresses["mcp_http"].split(":")[2].split("/")[0]), addresses["api_key"]
    failed = 0
    wanted = arguments.transport or [*RUNS, *([] if arguments.scenario else [AUTHORIZATION])]
    if AUTHORIZATION in wanted:
        failed += await _run_authorization(addresses, state / AUTHORIZATION)
    for transport in (one for one in wanted if one != AUTHORIZATION):
        opened = authorizing_proxy if transport == "http" else websocket_bridge
        async with opened(port, key) as proxy:
            for number, options in enumerate(_chosen(transport, arguments.scenario)):
                output = state / f"{transport}-{number}"
                said = await _run(f"http://127.0.0.1:{proxy}/mcp{VIEW}", options, output)
                failed += _report(f"{transport} {' '.join(options)}", output, said)
    print(f"{failed} scenarios failed" if failed else "every scenario passed")
    return 1 if failed else 0


async def _run_authorization(addresses: Mapping[str, Any], output: Path) -> int:
    registered = await conformance_sign_in.register(addresses)
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(SUITE), "authorization", "--url", addresses["rest"], "--client-id", registered.client_id,
        "--resource", addresses["mcp_http"], "--port", str(registered.port), "-o", str(output),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN_S):
            said = await conformance_sign_in.answer(process.stdout, addresses["rest"])
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    return _report(AUTHORIZATION, output, said)


def _chosen(transport: str, scenario: str | None) -> Sequence[Sequence[str]]:
    return [("--scenario", scenario)] if scenario else RUNS[transport]


async def _run(url: str, options: Sequence[str], output: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(SUITE), "server", "--url", url, *options, "-o", str(output),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    async with asyncio.timeout(WITHIN_S):
        said, _ = await process.communicate()
    return said.decode()


def _report(title: str, output: Path, said: str) -> int:
    scenarios = sorted(
        (Scenario(path.parent.name, json.loads(path.read_text())) for path in output.rglob("checks.json")),
        key=lambda scenario: scenario.name,
    )
    print(f"{title}: {len(scenarios)} scenarios")
    for scenario in scenarios:
        print(scenario.line())
        for fault in scenario.faults:
            print(f"          {fault}")
    if not scenarios:
        print(said)
    return sum(bool(scenario.faults) for scenario in scenarios) + (not scenarios)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", help="only this one")
    parser.add_argument("--transport", action="append", choices=[*RUNS, AUTHORIZATION], help="default: all")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
