"""Starts services by forking a process that has imported them already: `python zygote.py` reads a line for each service to start.

What runs is the service's own `main`, in a process of its own that can be killed, stopped and woken; only the two seconds that importing
takes are saved, which tests that start processes all the time would have to pay for each. How a service ended is said in a file beside
its log. `support.forks` is the side that asks.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = ("worker", "rest_api", "mcp_server")
QUICK = "--quick"
"""The services believe that this is their table of queues; nothing else about them is changed."""
_PR_SET_PDEATHSIG = 1


def main() -> None:
    if QUICK in sys.argv:
        queues = import_module("devops_mcp.events.queues")
        queues.QUEUES = import_module("faults.quick_queues").quick_queues(queues.QUEUES)  # type: ignore[attr-defined]
    services = {name: import_module(f"{name}.__main__") for name in MODULES}
    import_module("devops_mcp.adapters.registry").load_adapters()
    gc.freeze()
    children: dict[int, str] = {}
    signal.signal(signal.SIGCHLD, lambda *_: _bury(children))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        told: dict[str, Any] = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            _become(services[told["module"]], told)
        children[pid] = told["log"]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        print(json.dumps({"pid": pid}), flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _bury(children: dict[int, str]) -> None:
    """Leave no zombies, and say in `LOG.PID` how each ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            Path(f"{children.pop(pid)}.{pid}").write_text(f"{os.waitstatus_to_exitcode(status)}\n")


def _become(service: Any, told: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    log = os.open(Path(told["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for name in [name for name in os.environ if name.startswith("DEVOPS_MCP_")]:
        del os.environ[name]
    os.environ.update(told["environment"])
    code = 1
    try:
        service.main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
