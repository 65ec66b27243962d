"""The conformance fixtures as an installed adapter package, for suites that are started as processes."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGURATION = "integrations:\n  - {name: conformance, system: conformance}\n"


def with_fixtures(folder: Path) -> Mapping[str, str]:
    """Install the fixtures into `folder`; the environment of a suite that has them and nothing else."""
    uv = Path(sys.executable).parent / "uv"
    source, target = ROOT / "tests" / "conformance", folder / "packages"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--target", target, source]
    subprocess.run([str(part) for part in command], check=True, timeout=60)
    configuration = folder / "config.yaml"
    configuration.write_text(CONFIGURATION)
    return {"PYTHONPATH": str(target), "DEVOPS_MCP_CONFIG_FILE": str(configuration)}
