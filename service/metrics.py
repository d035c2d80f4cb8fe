"""What Prometheus can read about the service, and about the judge's quality.

Every application has a registry of its own, so that several can live in one process. Labels have few values: routes,
statuses, error kinds; never a model's input. Latency buckets start at 5 ms because a small judge answers fast, and lie
close enough that a quantile, which is interpolated inside one, means something.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from genrm.engines.progress import BatchEvent
from genrm.types import Reading, Response, Status, Verdict
from service.errors import Code
from service.live_series import LiveSeries

LATENCY_BUCKETS_SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 3.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0),
)
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
_SIGNED_FIFTHS = tuple(fifth / 5 for fifth in range(-5, 6))
_POSITIONS = ("first", "second", "neither", "unknown")
_OUR_FAILURES: tuple[Code, ...] = ("engine_failed", "internal_error")
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All series of one application, named in `docs` and on dashboards by their `genrm_` names."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.request_duration = _seconds(
            registry,
            "genrm_request_duration_seconds",
            "Wall time of a request, streams to their end.",
            "route",
            "status",
        )
        self.queue_duration = _seconds(registry, "genrm_queue_duration_seconds", "Wait for the worker per judgement.")
        self.media_duration = _seconds(registry, "genrm_media_duration_seconds", "Decoding of a judgement's images.")
        self.engine_duration = _seconds(
            registry,
            "genrm_engine_duration_seconds",
            "Time in the engine: `judgement` is one judgement; `prefill` and `decode` are single passes of the model.",
            "stage",
        )
        self.expert_duration = _seconds(
            registry, "genrm_expert_duration_seconds", "One batch of one vision expert.", "expert"
        )
        self.expert_conflicts = Counter(
            "genrm_expert_conflicts", "Verdicts against what the vision experts found.", registry=registry
        )
        self.time_to_first_token = _seconds(
            registry,
            "genrm_time_to_first_token_seconds",
            "From a streamed request's arrival to its first critique text.",
        )
        self.running = Gauge(
            "genrm_requests_running", "Judgements and rankings in progress, waiting ones included.", registry=registry
        )
        self.waiting = Gauge("genrm_requests_waiting", "Prompts that wait for the worker.", registry=registry)
        self.rejections = Counter(
            "genrm_rejections", "Requests answered with an error, by kind.", ["reason"], registry=registry
        )
        self.batch_size = Histogram(
            "genrm_batch_size", "Prompts in one decoding pass of the model.", buckets=_BATCH_SIZES, registry=registry
        )
        self.prefix_cache = Counter(
            "genrm_prefix_cache_lookups",
            "Groups of prompts about the same images and question, by whether that beginning was computed already.",
            ["result"],
            registry=registry,
        )
        self.batches = Counter("genrm_batches", "Batches that ended, by how.", ["status"], registry=registry)
        self.batch_lines = Counter(
            "genrm_batch_lines", "Lines of batches, by what came of them.", ["result"], registry=registry
        )
        self.tokens = Counter("genrm_tokens", "Tokens, by kind.", ["kind"], registry=registry)
        self.verdicts = Counter(
            "genrm_verdicts",
            "Verdicts by status and by the position their readings preferred: `first` or `second` whichever "
            "response stood there (a position bias), `neither` when both orders prefer the same response, "
            "`unknown` when one is unparsed.",
            ["status", "preferred_position"],
            registry=registry,
        )
        self.inconsistent = Counter(
            "genrm_inconsistent", "Verdicts whose two orders prefer different responses.", registry=registry
        )
        self.readings = Counter("genrm_readings", "Readings, with or without a legal verdict.", registry=registry)
        self.unparsed = Counter("genrm_unparsed", "Readings without a legal verdict.", registry=registry)
        self.label_mass = Histogram(
            "genrm_label_mass", "Probability on legal labels, per verdict.", buckets=_TENTHS, registry=registry
        )
        self.margin = Histogram(
            "genrm_margin", "P(A) - P(B), per verdict with probabilities.", buckets=_SIGNED_FIFTHS, registry=registry
        )

        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Give labelled counters that shares and alerts rest on their series from the start: the increase from nothing
        to one is none to Prometheus, so the first event of a kind would be missed.
        """
        for status, position in product(get_args(Status), _POSITIONS):
            self.verdicts.labels(status, position)
        for result in ("hit", "miss"):
            self.prefix_cache.labels(result)
        for result in ("completed", "failed"):
            self.batch_lines.labels(result)
        for reason in _OUR_FAILURES:
            self.rejections.labels(reason)

    def track_waiting(self, count: Callable[[], float]) -> None:
        """Let `genrm_requests_waiting` ask `count` whenever it is read."""
        self.waiting.set_function(count)

    def track_life(self, is_ready: Callable[[], bool], find_engine: Callable[[], object]) -> None:
        """Let `genrm_ready` and the engine's state be asked for whenever they are read; see `service.live_series`."""
        self.registry.register(LiveSeries(is_ready, find_engine))

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count one finished request. route: the route's pattern, never the URL."""
        self.request_duration.labels(route, str(status)).observe(seconds)

    def observe_batch(self, event: BatchEvent) -> None:
        """Count one pass of the model. Safe in any thread."""
        self.engine_duration.labels(event.stage).observe(event.seconds)
        self.prefix_cache.labels("hit").inc(event.num_prefix_hits)
        self.prefix_cache.labels("miss").inc(event.num_prefix_misses)
        if event.stage == "decode":
            self.batch_size.observe(event.num_rows)

    def observe_expert(self, expert: str, seconds: float, num_inquiries: int) -> None:
        """Time one batch of an expert. Safe in any thread."""
        del num_inquiries
        self.expert_duration.labels(expert).observe(seconds)

    def observe_verdict(self, verdict: Verdict) -> None:
        """Count one verdict and what it cost, its images included."""
        self.media_duration.observe(verdict.timings_ms.media / 1000)
        self.observe_judgement(verdict)

    def observe_judgement(self, verdict: Verdict) -> None:
        """Count one verdict of several about the same images."""
        timings, usage = verdict.timings_ms, verdict.usage
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        self.tokens.labels("completion").inc(usage.completion_tokens)
        self.tokens.labels("cached").inc(usage.cached_tokens)
        self.verdicts.labels(verdict.status, find_preferred_position(verdict.readings)).inc()
        self.inconsistent.inc(verdict.consistent is False)
        self.expert_conflicts.inc(verdict.expert_conflict)
        self.readings.inc(len(verdict.readings))
        self.unparsed.inc(sum(reading.probabilities is None for reading in verdict.readings))
        if verdict.readings:  # a verdict that needed no model says nothing about the model
            self.queue_duration.observe(timings.queue / 1000)
            self.engine_duration.labels("judgement").observe(timings.engine / 1000)
            self.label_mass.observe(verdict.label_mass)
            if verdict.margin is not None:
                self.margin.observe(verdict.margin)

    def render(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)


def find_preferred_position(readings: Sequence[Reading]) -> str:
    """`first` or `second` when both orders prefer that position, `neither` when they agree on a response, else
    `unknown`.
    """
    first_when_a_first, first_when_b_first = _mean_first(readings, "A"), _mean_first(readings, "B")
    if first_when_a_first is None or first_when_b_first is None:
        return "unknown"
    if first_when_a_first > 0.5 and first_when_b_first > 0.5:
        return "first"
    return "second" if first_when_a_first < 0.5 and first_when_b_first < 0.5 else "neither"


def _mean_first(readings: Sequence[Reading], first: Response) -> float | None:
    """Mean probability of the response in the first position, over parsed readings of one order."""
    values = [
        getattr(reading.probabilities, first)
        for reading in readings
        if reading.first == first and reading.probabilities
    ]
    return sum(values) / len(values) if values else None


def _seconds(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Histogram:
    return Histogram(name, text, labels, buckets=LATENCY_BUCKETS_SECONDS, registry=registry)
