"""Traces: one from the webhook through outbox, queue and worker to the agent's notification.

A hop that no call stack spans (a row, a queue message, a Redis notice) carries `carry()` and the other side opens `continued(...)`.
Only W3C `traceparent` travels: baggage and `tracestate` are text of outsiders. Where nothing is recorded a span is its ids and no more, and
OpenTelemetry is left out: what it makes of a span that nobody will see takes a twentieth of a small call.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)

Attributes: TypeAlias = Mapping[str, str | bool | int | float]
TRACEPARENT = "traceparent"

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_EXPORT_TIMEOUT_S = 5
_SCOPE = "devops_mcp"


class Hop(NamedTuple):
    """A span's ids."""

    trace_id: int
    span_id: int
    trace_flags: int = 0


_HOP: ContextVar[Hop | None] = ContextVar("hop", default=None)
"""Where the trace is, if spans are not recorded."""


class _Current:
    """The tracer of this process; before `start_tracing` spans have fresh ids and are recorded nowhere."""

    tracer: Tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer(_SCOPE)
    records = False


def start_tracing(
    service: str, version: str, otlp_endpoint: str | None = None, *, exporter: SpanExporter | None = None
) -> Callable[[], None]:
    """Trace from now on, and return what flushes and ends it; that call waits up to 5 s for the collector.

    `otlp_endpoint` is the base address of an OTLP/HTTP collector. Without one nothing is recorded, yet ids are made and propagated.
    `exporter` gets each span at its end, synchronously: for tests.
    """
    processor = _processor(otlp_endpoint, exporter)
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON) if processor else ALWAYS_OFF,
        resource=Resource.create({"service.name": service, "service.version": version}),
        shutdown_on_exit=False,
    )
    if processor:
        provider.add_span_processor(processor)
    _offer_to_libraries(provider)
    before = _Current.tracer, _Current.records
    _Current.tracer, _Current.records = provider.get_tracer(_SCOPE, version), processor is not None

    def shutdown() -> None:
        _Current.tracer, _Current.records = before
        provider.shutdown()

    return shutdown


def _processor(otlp_endpoint: str | None, exporter: SpanExporter | None) -> SpanProcessor | None:
    if exporter is not None:
        return SimpleSpanProcessor(exporter)
    if otlp_endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
        OTLPSpanExporter,
    )  # 0.1 s to import: only who exports pays

    address = f"{otlp_endpoint.rstrip('/')}/v1/traces"
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=address, timeout=_EXPORT_TIMEOUT_S))


def _offer_to_libraries(provider: TracerProvider) -> None:
    # OpenTelemetry takes a global provider once a process and warns about a second; ours come and go in tests.
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(provider)


def here() -> Hop | SpanContext | None:
    """The current span's ids; None outside any span."""
    if not _Current.records:
        return _HOP.get()
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


def carry() -> dict[str, str]:
    """The current span's `traceparent`, to be stored or sent with a message; empty outside any span."""
    traceparent = current_traceparent()
    return {} if traceparent is None else {TRACEPARENT: traceparent}


def current_traceparent() -> str | None:
    """What `carry` holds, for a column of its own; None outside any span."""
    span = here()
    return None if span is None else _traceparent(span)


def _traceparent(span: Hop | SpanContext) -> str:
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def current_trace_id() -> str | None:
    """The current trace's id, 32 hex digits; None outside any span."""
    span = here()
    return None if span is None else f"{span.trace_id:032x}"


def continued(
    carrier: Mapping[str, str],
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span]:
    """Run the block in a span whose parent is the carried one; an empty or unreadable carrier begins a new trace."""
    if not _Current.records:
        return _Unrecorded(_read(carrier))
    return _Spanned(_parent(carrier), name, kind, attributes)


@contextmanager
def beside(
    carriers: Sequence[Mapping[str, str]],
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
) -> Iterator[list[str]]:
    """Run the block, which is one piece of work on behalf of several traces, in a span of each; the spans' traceparents.

    The first span is the current one within the block.
    """
    if not _Current.records:
        hops = [_below(_read(carrier)) for carrier in carriers]
        token = _HOP.set(hops[0])
        try:
            yield [_traceparent(hop) for hop in hops]
        finally:
            _HOP.reset(token)
        return
    spans = [_begun(_parent(carrier), name, kind, attributes) for carrier in carriers]
    try:
        with trace.use_span(spans[0], record_exception=False, set_status_on_exception=False):
            yield [_traceparent(span.get_span_context()) for span in spans]
    except BaseException as error:
        for span in spans:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        for span in spans:
            span.end()


def spanned(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """Run the block in a child of the current span."""
    if not _Current.records:
        return _Unrecorded(_HOP.get())
    return _Spanned(None, name, kind, attributes)


class _Unrecorded:
    """The block that `continued` and `spanned` open where nothing is recorded."""

    __slots__ = ("_above", "_token")

    def __init__(self, above: Hop | None) -> None:
        self._above = above

    def __enter__(self) -> Span:
        self._token = _HOP.set(_below(self._above))
        return INVALID_SPAN

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        _HOP.reset(self._token)


def _below(above: Hop | None) -> Hop:
    """A new span in the trace of the one above, or in one of its own. Its ids are not 0, which stands for none."""
    trace_id = random.getrandbits(128) or 1 if above is None else above.trace_id
    return Hop(trace_id, random.getrandbits(64) or 1)


class _Spanned:
    """The same where spans are recorded."""

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_span", "_token")

    def __init__(
        self, parent: otel_context.Context | None, name: str, kind: SpanKind, attributes: Attributes | None
    ) -> None:
        self._parent = parent
        self._name = name
        self._kind = kind
        self._attributes = attributes

    def __enter__(self) -> Span:
        self._span = _begun(self._parent, self._name, self._kind, self._attributes)
        self._token = otel_context.attach(trace.set_span_in_context(self._span, self._parent))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is not None:
            # The type only: an exception's text may hold what must not leave the process.
            self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
        otel_context.detach(self._token)
        self._span.end()


def _begun(
    parent: otel_context.Context | None, name: str, kind: SpanKind, attributes: Attributes | None
) -> Span:
    return _Current.tracer.start_span(name, context=parent, kind=kind, attributes=attributes)


def _parent(carrier: Mapping[str, str]) -> otel_context.Context:
    carried = _read(carrier)
    if carried is None:
        return otel_context.Context()
    flags = TraceFlags(carried.trace_flags & TraceFlags.SAMPLED)
    remote = SpanContext(carried.trace_id, carried.span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(remote), otel_context.Context())


def _read(carrier: Mapping[str, str]) -> Hop | None:
    """What a `traceparent` names; None for one that is not well-formed, or names nothing."""
    match = _TRACEPARENT.fullmatch(carrier.get(TRACEPARENT, ""))
    if match is None:
        return None
    hop = Hop(*(int(part, 16) for part in match.groups()))
    return hop if hop.trace_id and hop.span_id else None
