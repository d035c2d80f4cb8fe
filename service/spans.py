"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP. Imported by `service.tracing` where traces are wanted.

Sending goes on in a thread of the SDK. A collector that is away costs spans, one warning and nothing else. The SDK's
own environment variables hold (`OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`,
`OTEL_BSP_…`), except for the endpoint, which is ours. No provider is made the process's own: each application has its.
"""

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers

from service.errors import HTTP_STATUS
from service.request_record import RequestRecord
from service.stages import Stage

_FLUSH_SECONDS = 3.0
"""How long the end of the service waits for spans to be sent."""
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
_EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

_logger = logging.getLogger(__name__)


class SpanTracer:
    """Makes the spans of requests that have ended (`service.tracing.Tracer`).

    url: of the collector, with the path for traces. Raises ValueError if an `OTEL_…` variable cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._exporter = _ForgivingExporter(OTLPSpanExporter(endpoint=url), urlsplit(url).hostname or "")
        own = Resource({"service.name": "vl-genrm", "service.version": version("vl-genrm")})
        resource = Resource.create(own.merge(OTELResourceDetector().detect()).attributes)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        try:
            self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except ValueError:
            self._exporter.shutdown()
            raise
        self._tracer = self._provider.get_tracer("vl-genrm", version("vl-genrm"))
        self._propagator = TraceContextTextMapPropagator()

    def trace(self, record: RequestRecord, *, method: str, route: str | None, status: int, headers: Headers) -> str:
        """As `Tracer.trace`."""
        clock = _Clock()
        method = method if method in _METHODS else "_OTHER"
        span = self._tracer.start_span(
            method if route is None else f"{method} {route}",
            context=self._read_parent(headers),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.response.status_code": status,
                "genrm.request_id": record.request_id,
                **({} if route is None else {"http.route": route}),
                **({} if record.error_code is None else {"error.type": record.error_code}),
            },
            start_time=clock.at(record.started),
        )
        if span.is_recording():
            if status >= 500 or (record.error_code is not None and HTTP_STATUS[record.error_code] >= 500):
                span.set_status(StatusCode.ERROR)
            self._add(span, record.stages, clock)
        span.end(clock.now)
        context = span.get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else ""

    def close(self) -> None:
        """As `Tracer.close`. What cannot be sent in time is given up."""
        sending = threading.Thread(target=self._provider.shutdown, name="flush-spans", daemon=True)
        sending.start()
        sending.join(_FLUSH_SECONDS)
        self._exporter.shutdown()  # ends a wait for the next try

    def _add(self, parent: Span, stages: Iterable[Stage], clock: "_Clock") -> None:
        context = set_span_in_context(parent, Context())
        for stage in stages:
            facts = {f"genrm.{name}": value for name, value in stage.facts.items()}
            span = self._tracer.start_span(
                stage.name, context=context, attributes=facts, start_time=clock.at(stage.started)
            )
            if stage.has_failed:
                span.set_status(StatusCode.ERROR)
            self._add(span, stage.parts, clock)
            span.end(clock.now if stage.ended is None else clock.at(stage.ended))

    def _read_parent(self, headers: Headers) -> Context:
        """The caller's span by the W3C headers; an empty context without, or where they make no sense."""
        carrier = {name: ",".join(headers.getlist(name)) for name in ("traceparent", "tracestate") if name in headers}
        return self._propagator.extract(carrier, Context())


class _Clock:
    """Turns moments of `time.perf_counter`, in seconds, into nanoseconds since 1970."""

    def __init__(self) -> None:
        self.now = time.time_ns()
        self._counter = time.perf_counter()

    def at(self, moment: float) -> int:
        """A moment of the past."""
        return self.now - round((self._counter - moment) * 1e9)


class _ForgivingExporter(SpanExporter):
    """Says once that spans cannot be sent, and once that they can again, where the SDK logs an error for each batch.

    host: of the collector, for these messages.
    """

    def __init__(self, exporter: SpanExporter, host: str) -> None:
        self._exporter = exporter
        self._host = host
        self._num_lost = 0
        self._is_closed = False
        self._reason = _LastMessage()
        logging.getLogger(_EXPORTER_LOG).addFilter(self._reason)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, in the SDK's thread."""
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the SDK's thread
            self._reason.text, result = str(error), SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            if self._num_lost:
                _logger.warning("Traces reach %s again; %d spans were lost.", self._host, self._num_lost)
            self._num_lost = 0
        else:
            if not self._num_lost:
                _logger.warning(
                    "Traces cannot be sent to %s (GENRM_TRACES_URL): %s Requests are served without. Check that a "
                    "collector takes OTLP over HTTP there.",
                    self._host,
                    self._reason.text,
                )
            self._num_lost += len(spans)
        return result

    def shutdown(self) -> None:
        """End, and with it a wait for the next try."""
        if not self._is_closed:
            self._is_closed = True
            self._exporter.shutdown()
            logging.getLogger(_EXPORTER_LOG).removeFilter(self._reason)


class _LastMessage(logging.Filter):
    """Keeps the last message of a logger to itself."""

    text = "no reason is known."

    def filter(self, record: logging.LogRecord) -> bool:
        self.text = record.getMessage()
        return False
