"""Traces: what a collector on a loopback port receives of real requests, and what happens where there is none."""

from __future__ import annotations

import http.server
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from experts.fake import FakeExpert
from genrm.engines.fake import FakeEngine
from service.app import create_app
from service.errors import StartError
from service.settings import load_settings
from service.spans import _ForgivingExporter

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.service.conftest import HangingEngine, MakeBody, OpenApp

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Collector:
    """A real OTLP/HTTP endpoint."""

    url: str
    received: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def find(self, name: str) -> Span:
        """The only span of a name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def children(self, parent: Span) -> list[str]:
        """Names of the spans below one, by their start."""
        below = [span for span in self.spans if span.parent_span_id == parent.span_id]
        return [span.name for span in sorted(below, key=lambda span: span.start_time_unix_nano)]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes whatever comes."""
    found = Collector("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.received.append(ExportTraceServiceRequest.FromString(body))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        yield found
        server.shutdown()
        thread.join()


def attributes_of(span: Span) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in span.attributes}


def milliseconds_of(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6


async def test_a_judgement_is_one_trace_with_a_span_per_stage(
    collector: Collector, open_app: OpenApp, make_body: MakeBody, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "service.request_log")
    experts = [FakeExpert({"disc": 1})]
    async with open_app(FakeEngine(delay_seconds=0.05), experts=experts, traces_url=collector.url) as client:
        headers = {"traceparent": PARENT, "X-Request-Id": "find-me"}
        verdict = (await client.post("/v1/judge", json=make_body(), headers=headers)).json()
    server = collector.find("POST /v1/judge")
    assert server.kind == server.SPAN_KIND_SERVER
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (PARENT[3:35], PARENT[36:52])
    assert {span.trace_id for span in collector.spans} == {server.trace_id}
    assert attributes_of(server) == {
        "http.request.method": "POST",
        "http.route": "/v1/judge",
        "http.response.status_code": 200,
        "genrm.request_id": "find-me",
    }
    assert collector.children(server) == ["media", "judgement"]
    assert collector.children(collector.find("judgement")) == ["experts", "queue", "engine"]
    for name in ("media", "experts", "queue", "engine"):
        assert milliseconds_of(collector.find(name)) == pytest.approx(verdict["timings_ms"][name], abs=0.1), name
    assert milliseconds_of(server) >= verdict["timings_ms"]["total"]
    for span in collector.spans:
        assert server.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano, span.name
        assert span.end_time_unix_nano <= server.end_time_unix_nano + 5_000_000, span.name
    (line,) = [record for record in caplog.records if record.name == "service.request_log"]
    assert line.__dict__["trace_id"] == PARENT[3:35]


async def test_spans_say_nothing_of_what_was_asked(
    collector: Collector, open_app: OpenApp, make_body: MakeBody
) -> None:
    async with open_app(traces_url=collector.url) as client:
        body = make_body(question="A secret question?", response_a="A secret answer.", id="a secret id")
        await client.post("/v1/judge?secret=1", json=body)
        await client.get("/secret/path")
        await client.post("/v1/judge", json=make_body(b"a secret image"))
    assert len(collector.spans) >= 5
    assert all(b"secret" not in request.SerializeToString() for request in collector.received)
    unmatched = collector.find("GET")
    assert "http.route" not in attributes_of(unmatched)
    assert attributes_of(unmatched)["http.response.status_code"] == 404


async def test_a_ranking_has_a_span_per_call_of_the_engine(
    collector: Collector, open_app: OpenApp, make_body: MakeBody
) -> None:
    body = {
        "query": make_body()["question"],
        "image": make_body()["image"],
        "documents": [f"Number {index}." for index in range(9)],
        "strategy": "all_pairs",
    }
    async with open_app(traces_url=collector.url) as client:
        await client.post("/v1/rerank", json=body)
        await client.post("/rerank", json=body | {"documents": ["One.", "One."]})
    assert collector.children(collector.find("POST /v1/rerank")) == ["media", "ranking"]
    rankings = [span for span in collector.spans if span.name == "ranking"]
    (ranking,) = [span for span in rankings if attributes_of(span)["genrm.judgements"] == 36]
    assert attributes_of(ranking) == {"genrm.mode": "critique", "genrm.strategy": "all_pairs", "genrm.judgements": 36}
    engine = [span for span in collector.spans if span.name == "engine"]
    assert sorted(attributes_of(span)["genrm.judgements"] for span in engine) == [4, 32]
    assert {span.parent_span_id for span in engine} == {ranking.span_id}
    assert all(span.end_time_unix_nano <= ranking.end_time_unix_nano for span in engine)


async def test_work_that_was_dropped_shows_where_it_was(
    collector: Collector, open_app: OpenApp, make_body: MakeBody, hanging_engine: HangingEngine
) -> None:
    async with open_app(hanging_engine, traces_url=collector.url, request_timeout_seconds=0.3) as client:
        assert (await client.post("/v1/judge", json=make_body())).status_code == 504
        stream = await client.post("/v1/judge", json=make_body(stream=True))
        assert stream.status_code == 200
    servers = [span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER]
    assert [attributes_of(span)["error.type"] for span in servers] == ["deadline_exceeded"] * 2
    stuck = [span for span in collector.spans if span.name == "judgement"]
    assert len(stuck) == 2
    for span in (*servers, *stuck):
        assert span.status.code == span.status.STATUS_CODE_ERROR
        assert milliseconds_of(span) > 200


async def test_health_and_metrics_are_not_traced(collector: Collector, open_app: OpenApp) -> None:
    async with open_app(traces_url=collector.url) as client:
        for path in ("/livez", "/readyz", "/health", "/metrics", "/v1/models"):
            assert (await client.get(path)).status_code == 200
    assert [span.name for span in collector.spans] == ["GET /v1/models"]


async def test_a_parent_that_makes_no_sense_is_none(collector: Collector, open_app: OpenApp) -> None:
    async with open_app(traces_url=collector.url) as client:
        await client.get("/v1/models", headers={"traceparent": "00-0-0-0"})
        await client.get("/v1/models", headers=[("traceparent", PARENT), ("traceparent", PARENT)])
    assert [span.parent_span_id for span in collector.spans] == [b"", b""]


async def test_the_standard_variables_hold(
    collector: Collector, open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(traces_url=collector.url) as client:
        await client.get("/v1/models")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "judge-of-tests")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
    async with open_app(traces_url=collector.url) as client:
        await client.get("/v1/models")
    default, named = (
        {each.key: each.value.string_value for each in request.resource_spans[0].resource.attributes}
        for request in collector.received
    )
    assert default["service.name"] == "vl-genrm"
    assert default["service.version"]
    assert named["service.name"] == "judge-of-tests"
    assert named["deployment.environment.name"] == "test"
    assert [headers.get("x-token") for headers in collector.headers] == [None, "abc"]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    async with open_app(traces_url=collector.url) as client:
        await client.get("/v1/models")
    assert len(collector.received) == 2


async def test_a_collector_that_is_away_costs_one_warning_and_no_request(
    open_app: OpenApp, make_body: MakeBody, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    async with open_app(traces_url="http://user:secret@127.0.0.1:9/v1/traces") as client:
        for _ in range(3):
            assert (await client.post("/v1/judge", json=make_body())).status_code == 200
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.levelno == logging.WARNING
    assert "Traces cannot be sent to 127.0.0.1 (GENRM_TRACES_URL)" in warning.getMessage()
    assert "secret" not in caplog.text


class FlakyExporter(SpanExporter):
    """Is away twice, then there."""

    def __init__(self) -> None:
        self.num_calls = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.num_calls += 1
        if self.num_calls == 1:
            raise OSError("No route.")
        return SpanExportResult.FAILURE if self.num_calls == 2 else SpanExportResult.SUCCESS


def test_a_collector_that_comes_back_is_told_once_with_what_was_lost(caplog: pytest.LogCaptureFixture) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(_ForgivingExporter(FlakyExporter(), "collector")))
    for _ in range(5):
        provider.get_tracer("test").start_span("span").end()
    provider.shutdown()
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("Traces cannot be sent to collector (GENRM_TRACES_URL): No route.")
    assert second == "Traces reach collector again; 2 spans were lost."


def test_without_the_setting_nothing_of_the_sdk_is_imported() -> None:
    code = (
        "import sys; from service.app import create_app; from service.settings import load_settings;"
        "create_app(load_settings());"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_missing_sdk_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "service.spans", raising=False)
    with pytest.raises(StartError, match=r"GENRM_TRACES_URL.*pip install 'vl-genrm\[otel\]'"):
        create_app(load_settings(traces_url="http://127.0.0.1:9/v1/traces"))


def test_variables_that_the_sdk_cannot_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-5")
    with pytest.raises(StartError, match=r"OTEL_….*max_queue_size"):
        create_app(load_settings(traces_url="http://127.0.0.1:9/v1/traces"))


def test_a_url_that_is_none_is_refused_with_the_setting() -> None:
    with pytest.raises(StartError, match="GENRM_TRACES_URL"):
        load_settings(traces_url="collector:4318")
