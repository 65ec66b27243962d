"""A real Prometheus on this machine, with a shop to scrape, an alert that fires and a target that is down."""

import ctypes
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from devops_mcp.embedded.ports import free_port
from support.systems import debian_program

READY_WITHIN_S = 90.0
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SHOP = f"""\
# HELP shop_orders Orders taken.
# TYPE shop_orders counter
shop_orders_total 17
# HELP shop_request_seconds Time of a request.
# TYPE shop_request_seconds histogram
# UNIT shop_request_seconds seconds
shop_request_seconds_bucket{{le="0.1"}} 8
shop_request_seconds_bucket{{le="+Inf"}} 10 # {{trace_id="{TRACE_ID}"}} 0.67
shop_request_seconds_count 10
shop_request_seconds_sum 3.2
"""
MANY = "# TYPE shop_many gauge\n" + "".join(f'shop_many{{pod="pod-{n:03}"}} {n}\n' for n in range(120))
CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
- {{job_name: gone, static_configs: [{{targets: ["127.0.0.1:9"]}}]}}
- {{job_name: prometheus, static_configs: [{{targets: ["127.0.0.1:{own}"]}}]}}
- {{job_name: shop, static_configs: [{{targets: ["127.0.0.1:{shop}"]}}]}}
- job_name: unwanted
  static_configs: [{{targets: ["127.0.0.1:7"]}}]
  relabel_configs: [{{action: drop, source_labels: [__address__]}}]
"""
RULES = """\
groups:
- name: shop
  rules:
  - {alert: NeverFiring, expr: "vector(0) > 1"}
  - {alert: AlwaysFiring, expr: "vector(1)", labels: {severity: page}, annotations: {summary: always}}
  - {record: "job:up:sum", expr: "sum by (job) (up)"}
  - {record: broken, expr: 'label_replace(up, "instance", "x", "", "")', labels: {job: x}}
"""


@dataclass
class Shop:
    """What the shop's `/metrics` says; `gone` is told until `forget` is called."""

    port: int = 0
    gone: bool = True

    def text(self) -> str:
        gone = "# TYPE shop_gone gauge\nshop_gone 5\n" if self.gone else ""
        return f"{SHOP}{MANY}{gone}# EOF\n"

    def forget(self) -> None:
        self.gone = False


@dataclass(frozen=True)
class RealPrometheus:
    url: str
    folder: Path
    shop: Shop

    def ask(self, path: str, **arguments: str) -> Any:
        """The data of an answer to a GET."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(arguments)}", timeout=5) as answer:
            return json.load(answer)["data"]

    def count(self, query: str) -> int:
        """How many series `query` gives now."""
        return len(self.ask("query", query=query)["result"])


@contextmanager
def running_prometheus(folder: Path, *flags: str) -> Iterator[RealPrometheus]:
    """Start Prometheus with its data in `folder`; ready when everything was scraped and the alert fires."""
    program = debian_program("prometheus", "prometheus")
    with _serving_shop() as shop:
        port = free_port()
        (folder / "rules.yml").write_text(RULES)
        (folder / "prometheus.yml").write_text(CONFIG.format(own=port, shop=shop.port))
        listen, data = f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'data'}"
        arguments = [program, f"--config.file={folder / 'prometheus.yml'}", data, listen, *flags]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log, preexec_fn=_end_with_parent)
        real = RealPrometheus(f"http://127.0.0.1:{port}", folder, shop)
        try:
            wait_until(lambda: _is_ready(real), process, folder / "log")
            yield real
        finally:
            process.terminate()
            process.wait(20)


def wait_until(
    true: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, log: Path | None = None
) -> None:
    """Ask five times a second, for at most `READY_WITHIN_S`."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not true():
        ended = process is not None and process.poll() is not None
        assert not ended, f"prometheus ended: {log.read_text() if log else ''}"
        assert time.monotonic() < deadline, f"prometheus did not get there: {log.read_text() if log else ''}"
        time.sleep(0.2)


def _is_ready(real: RealPrometheus) -> bool:
    try:
        healths = {target["health"] for target in real.ask("targets")["activeTargets"]}
        rules = [rule["health"] for group in real.ask("rules")["groups"] for rule in group["rules"]]
        return (
            healths == {"up", "down"}
            and "unknown" not in rules
            and "err" in rules
            and real.count("count_over_time(up[1m]) >= 4") == 3
            and real.count('ALERTS{alertstate="firing"}') == 1
        )
    except URLError:
        return False


@contextmanager
def _serving_shop() -> Iterator[Shop]:
    shop = Shop()

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = shop.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    shop.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _end_with_parent() -> None:
    """On Linux, so that a test run that is killed leaves no Prometheus behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
