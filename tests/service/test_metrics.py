"""What Prometheus reads: every promised series, right values, few label values, and one registry per application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genrm.engines.fake import FakeEngine
from genrm.engines.progress import BatchEvent
from genrm.types import FinishReason, Probabilities, Reading, Response
from service.metrics import LATENCY_BUCKETS_SECONDS, Metrics, find_preferred_position

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, OpenApp

PROMISED = {
    "genrm_request_duration_seconds",
    "genrm_queue_duration_seconds",
    "genrm_media_duration_seconds",
    "genrm_engine_duration_seconds",
    "genrm_time_to_first_token_seconds",
    "genrm_requests_running",
    "genrm_requests_waiting",
    "genrm_rejections",
    "genrm_batch_size",
    "genrm_tokens",
    "genrm_verdicts",
    "genrm_inconsistent",
    "genrm_readings",
    "genrm_unparsed",
    "genrm_label_mass",
    "genrm_margin",
    "genrm_expert_duration_seconds",
    "genrm_expert_conflicts",
    "genrm_ready",
}


def read(text: str) -> dict[tuple[str, ...], float]:
    """Every sample's value by its name and the values of its labels, which come in alphabetical order."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make_reading(first: Response, p_a: float | None, finish_reason: FinishReason = "stop") -> Reading:
    return Reading(
        first=first,
        critique="",
        probabilities=None if p_a is None else Probabilities(A=p_a, B=1 - p_a),
        label_mass=0.9,
        finish_reason=finish_reason,
        completion_tokens=1,
    )


async def test_every_promised_series_is_there_from_the_start(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(response.text)}
    assert names >= PROMISED
    assert "process_resident_memory_bytes" in names


def test_latency_is_told_from_5_milliseconds_to_2_minutes() -> None:
    assert LATENCY_BUCKETS_SECONDS[0] == 0.005
    assert LATENCY_BUCKETS_SECONDS[-1] == 120
    assert list(LATENCY_BUCKETS_SECONDS) == sorted(LATENCY_BUCKETS_SECONDS)


async def test_a_judgement_is_counted_with_what_it_cost(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    verdict = (await client.post("/v1/judge", json=make_body())).json()
    values = read((await client.get("/metrics")).text)
    assert values["genrm_request_duration_seconds_count", "/v1/judge", "200"] == 1
    assert values["genrm_verdicts_total", "neither", "decided"] == 1
    assert values["genrm_tokens_total", "prompt"] == verdict["usage"]["prompt_tokens"]
    assert values["genrm_tokens_total", "completion"] == verdict["usage"]["completion_tokens"]
    assert values["genrm_tokens_total", "cached"] == verdict["usage"]["cached_tokens"]
    assert values["genrm_engine_duration_seconds_count", "judgement"] == 1
    assert values["genrm_label_mass_sum",] == pytest.approx(verdict["label_mass"])
    assert values["genrm_margin_count",] == 1
    assert values["genrm_inconsistent_total",] == 0
    assert values["genrm_unparsed_total",] == 0
    assert values["genrm_requests_running",] == 0


@pytest.mark.parametrize("position", ["first", "second"])
async def test_a_bias_for_a_position_is_seen(open_app: OpenApp, make_body: MakeBody, position: str) -> None:
    engine = FakeEngine(verdict="first") if position == "first" else FakeEngine(verdict="second")
    async with open_app(engine) as client:
        await client.post("/v1/judge", json=make_body())
        values = read((await client.get("/metrics")).text)
    assert values["genrm_verdicts_total", position, "tie"] == 1
    assert values["genrm_inconsistent_total",] == 1


async def test_unparsed_readings_are_counted_one_by_one(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(FakeEngine(verdict="none")) as client:
        await client.post("/v1/judge", json=make_body())
        values = read((await client.get("/metrics")).text)
    assert values["genrm_verdicts_total", "unknown", "abstained"] == 1
    assert values["genrm_unparsed_total",] == 2
    assert values["genrm_readings_total",] == 2
    assert values["genrm_margin_count",] == 0


async def test_a_tie_of_identical_texts_says_nothing_about_the_model(
    client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    await client.post("/v1/judge", json=make_body(response_a="One.", response_b="One."))
    values = read((await client.get("/metrics")).text)
    assert values["genrm_verdicts_total", "unknown", "tie"] == 1
    assert values["genrm_label_mass_count",] == 0
    assert ("genrm_engine_duration_seconds_count", "judgement") not in values


async def test_refusals_are_counted_by_kind(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    await client.post("/v1/judge", json=make_body(b"no image"))
    await client.post("/v1/judge", json=make_body(b"no image"))
    await client.post("/v1/judge", json=make_body(question=""))
    values = read((await client.get("/metrics")).text)
    assert values["genrm_rejections_total", "invalid_image"] == 2
    assert values["genrm_rejections_total", "invalid_value"] == 1
    assert values["genrm_request_duration_seconds_count", "/v1/judge", "415"] == 2


async def test_callers_cannot_make_new_series_by_inventing_urls(client: httpx.AsyncClient) -> None:
    for i in range(5):
        await client.get(f"/invented/{i}")
    text = (await client.get("/metrics")).text
    assert "invented" not in text
    assert read(text)["genrm_request_duration_seconds_count", "unmatched", "404"] == 5


async def test_applications_in_one_process_count_for_themselves(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app() as one, open_app() as two:
        await one.post("/v1/judge", json=make_body())
        assert read((await one.get("/metrics")).text)["genrm_verdicts_total", "neither", "decided"] == 1
        assert read((await two.get("/metrics")).text)["genrm_verdicts_total", "neither", "decided"] == 0


def test_passes_of_the_model_are_counted_by_stage() -> None:
    metrics = Metrics()
    metrics.observe_batch(BatchEvent(stage="prefill", num_rows=2, num_tokens=400, seconds=0.2))
    metrics.observe_batch(BatchEvent(stage="decode", num_rows=6, num_tokens=6, seconds=0.01))
    values = read(metrics.render().decode())
    assert values["genrm_engine_duration_seconds_sum", "prefill"] == pytest.approx(0.2)
    assert values["genrm_engine_duration_seconds_sum", "decode"] == pytest.approx(0.01)
    assert (values["genrm_batch_size_count",], values["genrm_batch_size_sum",]) == (1, 6)


@pytest.mark.parametrize(
    ("readings", "position"),
    [
        ([("A", 0.9), ("B", 0.8)], "neither"),
        ([("A", 0.9), ("B", 0.1)], "first"),
        ([("A", 0.1), ("B", 0.9)], "second"),
        ([("A", 0.9), ("B", None)], "unknown"),
        ([("A", 0.9)], "unknown"),
        ([], "unknown"),
        ([("A", 0.5), ("B", 0.1)], "neither"),
        ([("A", 0.9), ("A", 0.3), ("B", 0.2), ("B", 0.4)], "first"),
    ],
)
def test_the_preferred_position_is_found_over_both_orders(
    readings: list[tuple[Response, float | None]], position: str
) -> None:
    assert find_preferred_position([make_reading(first, p_a) for first, p_a in readings]) == position


def test_counters_that_alerts_rest_on_begin_at_zero() -> None:
    """Prometheus takes the step from no series to one for no increase."""
    series = read(Metrics().render().decode())
    for reason in ("engine_failed", "internal_error"):
        assert series["genrm_rejections_total", reason] == 0
    verdicts = [value for (name, *_), value in series.items() if name == "genrm_verdicts_total"]
    assert verdicts == [0.0] * 12
