"""A small Prometheus of our own: one shop, three targets, one alert that fires.

Its answers have the shapes of the real 2.42; `tests/systems/test_prometheus.py` asks both the same and compares.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

Labels = dict[str, str]
Vector = list[tuple[Labels, str]]

TARGETS = (
    ("gone", "127.0.0.1:9", "0"),
    ("prometheus", "127.0.0.1:9090", "1"),
    ("shop", "127.0.0.1:8000", "1"),
)
SINCE = "2026-11-20T22:34:15.568674523Z"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
METADATA = {
    "go_goroutines": ("gauge", "Number of goroutines that currently exist.", ""),
    "shop_orders": ("counter", "Orders taken.", ""),
    "shop_request_seconds": ("histogram", "Time of a request.", "seconds"),
}
NAMES = [
    "ALERTS",
    "go_goroutines",
    "shop_orders_total",
    "shop_request_seconds_bucket",
    "shop_request_seconds_count",
    "up",
]


def up(_: float) -> Vector:
    return [({"__name__": "up", "instance": instance, "job": job}, value) for job, instance, value in TARGETS]


def not_a_number(at: float) -> Vector:
    return [({name: labels[name] for name in ("instance", "job")}, "NaN") for labels, _ in up(at)]


def infinite(at: float) -> Vector:
    return [
        (labels, "NaN" if value == "0" else "+Inf")
        for (labels, _), (_, value) in zip(not_a_number(at), up(at), strict=True)
    ]


def gappy(at: float) -> Vector:
    """Samples in the first half of each minute only."""
    return [({"__name__": "shop_gappy"}, str(at % 60))] if at % 60 < 30 else []


def many(_: float) -> Vector:
    return [({"__name__": "shop_many", "job": "shop", "pod": f"pod-{n:03}"}, str(n)) for n in range(120)]


def native(_: float) -> Vector:
    return []


VECTORS: dict[str, Callable[[float], Vector]] = {
    "up": up,
    "up * NaN": not_a_number,
    "up / 0": infinite,
    "vector(1)": lambda _: [({}, "1")],
    "shop_gappy": gappy,
    "shop_many": many,
    "nothing": native,
}
HISTOGRAM = {"count": "10", "sum": "3.2", "buckets": [[0, "0.1", "0.2", "8"], [0, "0.2", "0.4", "2"]]}


@dataclass
class PrometheusFake:
    """`requests` are those it got: method, path and arguments. `version3` gives it what came after 2.42.

    `active` are its alerts; `refusal` is what it answers when it is asked for them, if set.
    """

    admin: bool = True
    version3: bool = False
    requests: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    active: list[dict[str, Any]] = field(default_factory=lambda: [_alert()])
    refusal: Response | None = None
    app: Starlette = field(init=False)

    def __post_init__(self) -> None:
        both = ["GET", "POST"]
        v1 = "/api/v1"
        self.app = Starlette(
            routes=[
                Route(f"{v1}/query", self.query, methods=both),
                Route(f"{v1}/query_range", self.query_range, methods=both),
                Route(f"{v1}/format_query", self.format_query, methods=both),
                Route(f"{v1}/query_exemplars", self.exemplars, methods=both),
                Route(f"{v1}/series", self.series, methods=both),
                Route(f"{v1}/labels", self.labels, methods=both),
                Route(f"{v1}/label/{{name}}/values", self.values),
                Route(f"{v1}/metadata", self.metadata),
                Route(f"{v1}/targets", self.targets),
                Route(f"{v1}/rules", self.rules),
                Route(f"{v1}/alerts", self.alerts),
                Route(f"{v1}/status/{{section}}", self.status),
                Route(f"{v1}/admin/tsdb/snapshot", self.snapshot, methods=["POST"]),
                Route("/-/ready", self.ready),
                *([Route(f"{v1}/parse_query", self.parse_query, methods=both)] if self.version3 else []),
            ],
            exception_handlers={404: lambda *_: PlainTextResponse("404 page not found\n", 404)},
        )

    async def ready(self, _: Request) -> Response:
        return PlainTextResponse("Prometheus Server is Ready.\n")

    async def query(self, request: Request) -> Response:
        given = await self._given(request)
        expression, at = given["query"][0], float(given.get("time", ["1795214060"])[0])
        if (refused := _refused(expression)) is not None:
            return refused
        match expression:
            case "1":
                return _result("scalar", [at, "1"])
            case '"s"':
                return _result("string", [at, "s"])
            case "up[5s]":
                samples = [[at - n, "1"] for n in (3.5, 2.5, 1.5, 0.5)]
                return _result("matrix", [{"metric": labels, "values": samples} for labels, _ in up(at)])
            case "shop_native":
                return _result("vector", [{"metric": {"job": "shop"}, "histogram": [at, HISTOGRAM]}])
        vector = VECTORS[expression](at)
        return _result("vector", [{"metric": labels, "value": [at, value]} for labels, value in vector])

    async def query_range(self, request: Request) -> Response:
        given = await self._given(request)
        if (refused := _refused(given["query"][0])) is not None:
            return refused
        start, end, step = (round(float(given[name][0]) * 1000) for name in ("start", "end", "step"))
        found: dict[tuple[tuple[str, str], ...], list[list[Any]]] = {}
        for at in range(start, end + 1, step):
            for labels, value in VECTORS[given["query"][0]](at / 1000):
                found.setdefault(tuple(labels.items()), []).append([at / 1000, value])
        return _result(
            "matrix", [{"metric": dict(labels), "values": values} for labels, values in found.items()]
        )

    async def format_query(self, request: Request) -> Response:
        expression = (await self._given(request))["query"][0]
        return _refused(expression) or _success(" ".join(expression.split()))

    async def parse_query(self, request: Request) -> Response:
        """The tree of `sum by (job) (rate(shop_orders_total{job="shop"}[5m]))`, as Prometheus 3 writes it."""
        await self._given(request)
        matchers = [
            {"name": "job", "value": "shop", "type": "="},
            {"name": "__name__", "value": "shop_orders_total", "type": "="},
        ]
        selector = {
            "type": "matrixSelector", "name": "shop_orders_total", "range": 300_000, "offset": 0, "matchers": matchers,
            "timestamp": None, "startOrEnd": None,
        }  # fmt: skip
        rate = {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"}
        call = {"type": "call", "func": rate, "args": [selector]}
        return _success(
            {
                "type": "aggregation",
                "op": "sum",
                "expr": call,
                "param": None,
                "grouping": ["job"],
                "without": False,
            }
        )

    async def exemplars(self, request: Request) -> Response:
        given = await self._given(request)
        if not given["query"][0].startswith("shop_request_seconds"):
            return _success([])
        labels = {
            "__name__": "shop_request_seconds_bucket",
            "instance": "127.0.0.1:8000",
            "job": "shop",
            "le": "+Inf",
        }
        stored = [
            {"labels": {"trace_id": f"{n}{TRACE_ID[1:]}"}, "value": "0.67", "timestamp": 1795214000.123 + n}
            for n in (1, 2)
        ]
        return _success([{"seriesLabels": labels, "exemplars": stored}])

    async def series(self, request: Request) -> Response:
        if not (await self._given(request)).get("match[]"):
            return _failure(400, "bad_data", "no match[] parameter provided")
        return _success([labels for labels, _ in up(0)])

    async def labels(self, request: Request) -> Response:
        await self._given(request)
        return _success(["__name__", "instance", "job"])

    async def values(self, request: Request) -> Response:
        given = await self._given(request)
        if request.path_params["name"] != "__name__":
            return _success([job for job, _, _ in TARGETS])
        wanted = "shop" if "shop" in given.get("match[]", [""])[0] else ""
        return _success([name for name in NAMES if wanted in name])

    async def metadata(self, request: Request) -> Response:
        await self._given(request)
        return _success(
            {
                name: [{"type": kind, "help": text, "unit": unit}]
                for name, (kind, text, unit) in METADATA.items()
            }
        )

    async def targets(self, request: Request) -> Response:
        await self._given(request)
        return _success(
            {"activeTargets": [_target(*target) for target in TARGETS], "droppedTargets": [_dropped()]}
        )

    async def rules(self, request: Request) -> Response:
        wanted = (await self._given(request)).get("type", ["alert", "record"])
        rules = [rule for rule in _rules() if rule["type"].removesuffix("ing") in wanted]
        group = {"name": "shop", "file": "rules.yml", "rules": rules, "interval": 1, "limit": 0}
        return _success({"groups": [group | {"evaluationTime": 0.0007, "lastEvaluation": SINCE}]})

    async def alerts(self, request: Request) -> Response:
        await self._given(request)
        return self.refusal or _success({"alerts": self.active})

    async def status(self, request: Request) -> Response:
        await self._given(request)
        found = _status(self.admin).get(request.path_params["section"])
        return _success(found) if found is not None else PlainTextResponse("404 page not found\n", 404)

    async def snapshot(self, request: Request) -> Response:
        await self._given(request)
        if not self.admin:
            return _failure(500, "unavailable", "admin APIs disabled")
        return _success({"name": "20261120T223415Z-2be650b6d019eb54"})

    async def _given(self, request: Request) -> dict[str, list[str]]:
        form = await request.form() if request.method == "POST" else None
        given: dict[str, list[str]] = {}
        for name, value in [*request.query_params.multi_items(), *(form.multi_items() if form else [])]:
            given.setdefault(name, []).append(str(value))
        self.requests.append((request.method, request.url.path, given))
        self.headers.append(dict(request.headers))
        return given


def _success(data: Any) -> Response:
    return JSONResponse({"status": "success", "data": data})


def _result(kind: str, result: Any) -> Response:
    return _success({"resultType": kind, "result": result})


def _failure(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"status": "error", "errorType": kind, "error": message}, status)


def _refused(expression: str) -> Response | None:
    if expression.count("(") > expression.count(")"):
        return _failure(
            400, "bad_data", 'invalid parameter "query": 1:5: parse error: unclosed left parenthesis'
        )
    if expression == "costly":
        return _failure(503, "timeout", "query timed out in expression evaluation")
    if expression == "ambiguous":
        return _failure(422, "execution", "found duplicate series for the match group")
    return None


def _target(job: str, instance: str, value: str) -> dict[str, Any]:
    return {
        "discoveredLabels": {
            "__address__": instance,
            "__metrics_path__": "/metrics",
            "__scheme__": "http",
            "job": job,
        },
        "labels": {"instance": instance, "job": job},
        "scrapePool": job,
        "scrapeUrl": f"http://{instance}/metrics",
        "globalUrl": f"http://{instance}/metrics",
        "lastError": ""
        if value == "1"
        else f'Get "http://{instance}/metrics": dial tcp {instance}: connect: connection refused',
        "lastScrape": SINCE,
        "lastScrapeDuration": 0.003390876,
        "health": "up" if value == "1" else "down",
        "scrapeInterval": "1s",
        "scrapeTimeout": "1s",
    }


def _dropped() -> dict[str, Any]:
    return {"discoveredLabels": {"__address__": "127.0.0.1:7", "__scheme__": "http", "job": "unwanted"}}


def _alert() -> dict[str, Any]:
    labels, annotations = {"alertname": "AlwaysFiring", "severity": "page"}, {"summary": "always"}
    return {
        "labels": labels,
        "annotations": annotations,
        "state": "firing",
        "activeAt": SINCE,
        "value": "1e+00",
    }


def _rules() -> list[dict[str, Any]]:
    evaluated = {"health": "ok", "evaluationTime": 0.0004, "lastEvaluation": SINCE}
    alerting = {"duration": 0, "keepFiringFor": 0, **evaluated, "type": "alerting"}
    return [
        {"state": "inactive", "name": "NeverFiring", "query": "vector(0) > 1", "labels": {}, "annotations": {}, "alerts": [], **alerting},
        {"state": "firing", "name": "AlwaysFiring", "query": "vector(1)", "labels": {"severity": "page"},
         "annotations": {"summary": "always"}, "alerts": [_alert()], **alerting},
        {"name": "job:up:sum", "query": "sum by (job) (up)", **evaluated, "type": "recording"},
        {"name": "broken", "query": 'label_replace(up, "job", "x", "", "")', **evaluated, "health": "err", "type": "recording",
         "labels": {"job": "x"},
         "lastError": "vector contains metrics with the same labelset after applying rule labels"},
    ]  # fmt: skip


def _status(admin: bool) -> dict[str, Any]:
    ranking = [{"name": name, "value": 9 - n} for n, name in enumerate(("up", "go_goroutines", "ALERTS"))]
    return {
        "buildinfo": {
            "version": "2.42.0+ds", "revision": "2.42.0+ds-5", "branch": "debian/sid", "buildUser": "team",
            "buildDate": "20260604-00:58:54", "goVersion": "go1.19.8",
        },
        "runtimeinfo": {
            "startTime": SINCE, "CWD": "/var/lib/prometheus", "reloadConfigSuccess": True, "lastConfigTime": "2026-11-20T22:34:15Z",
            "corruptionCount": 0, "goroutineCount": 27, "GOMAXPROCS": 2, "GOGC": "", "GODEBUG": "", "storageRetention": "15d",
        },
        "walreplay": {"min": 0, "max": 0, "current": 0},
        "flags": {"web.enable-admin-api": str(admin).lower(), "config.file": "prometheus.yml"},
        "config": {"yaml": "global:\n  scrape_interval: 1s\n"},
        "tsdb": {
            "headStats": {"numSeries": 9, "numLabelPairs": 5, "chunkCount": 9, "minTime": 1795214057568, "maxTime": 1795214059568},
            "seriesCountByMetricName": ranking, "labelValueCountByLabelName": ranking, "memoryInBytesByLabelName": ranking,
            "seriesCountByLabelValuePair": ranking,
        },
    }  # fmt: skip
