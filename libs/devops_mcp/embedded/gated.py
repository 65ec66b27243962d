"""Starts a service whose imports go on while what it needs is made ready: `python -m devops_mcp.embedded.gated MODULE GATE`.

The service begins once the file GATE is there. On two cores that is a second off the start of the suite.
"""

import sys
import time
from importlib import import_module
from pathlib import Path

_PAUSE_S = 0.01
_REGISTRY = "devops_mcp.adapters.registry"


def main(module: str, gate: Path) -> None:
    service = import_module(f"{module}.__main__")
    if registry := sys.modules.get(_REGISTRY):
        registry.load_adapters()  # imports them; who has the registry will
    while not gate.exists():
        time.sleep(_PAUSE_S)
    service.main()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
