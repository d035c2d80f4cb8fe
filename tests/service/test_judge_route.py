"""`POST /v1/judge` with right requests: what comes back, and what the engine is asked."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import httpx
import pytest

from genrm.engines.fake import FakeEngine
from genrm.prompts import PROMPT_VERSION
from service.schemas import JudgeResponse

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, MakeImage, OpenApp, RecordingEngine


async def test_a_verdict_has_everything_the_interface_promises(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    response = await client.post("/v1/judge", json=make_body())
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == [
        "id",
        "object",
        "created",
        "model",
        "prompt_version",
        "status",
        "reason",
        "preferred",
        "probabilities",
        "margin",
        "confidence",
        "consistent",
        "label_mass",
        "probability_source",
        "calibration_temperature",
        "evidence_log_odds",
        "critique",
        "readings",
        "evidence",
        "expert_conflict",
        "warnings",
        "usage",
        "timings_ms",
    ]
    verdict = JudgeResponse.model_validate_json(response.content)
    assert verdict.object == "verdict"
    assert verdict.model == "fake"
    assert verdict.prompt_version == PROMPT_VERSION
    assert verdict.status == "decided"
    assert {reading.first for reading in verdict.readings} == {"A", "B"}
    assert verdict.critique


async def test_the_preferred_response_has_the_higher_probability(
    client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    verdict = JudgeResponse.model_validate_json((await client.post("/v1/judge", json=make_body())).content)
    assert verdict.probabilities is not None
    assert verdict.margin == pytest.approx(verdict.probabilities.A - verdict.probabilities.B)
    assert verdict.preferred == ("A" if verdict.probabilities.A > 0.5 else "B")


async def test_swapped_responses_give_the_mirrored_verdict(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    body = make_body()
    swapped = {**body, "response_a": body["response_b"], "response_b": body["response_a"]}
    one = (await client.post("/v1/judge", json=body)).json()
    two = (await client.post("/v1/judge", json=swapped)).json()
    assert one["probabilities"]["A"] == pytest.approx(two["probabilities"]["B"], abs=1e-6)
    assert {one["preferred"], two["preferred"]} == {"A", "B"}


async def test_the_request_s_id_comes_back(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    assert (await client.post("/v1/judge", json=make_body(id="row-17"))).json()["id"] == "row-17"


async def test_a_request_without_id_gets_a_new_one_each_time(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    ids = {(await client.post("/v1/judge", json=make_body())).json()["id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(name.startswith("verdict-") for name in ids)


async def test_the_served_model_may_be_named(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    assert (await client.post("/v1/judge", json=make_body(model="fake"))).status_code == 200


async def test_several_images_reach_the_engine_in_order(
    open_app: OpenApp, make_body: MakeBody, make_image: MakeImage, recording_engine: RecordingEngine
) -> None:
    sizes = [(30, 40), (50, 60), (70, 80)]
    images = [{"url": "data:image/png;base64," + base64.b64encode(make_image(size=size)).decode()} for size in sizes]
    async with open_app(recording_engine) as client:
        response = await client.post("/v1/judge", json={**make_body(), "images": images, "image": None})
    assert response.status_code == 200, response.text
    assert [image.size for image in recording_engine.prompts[0].images] == sizes


async def test_options_reach_the_engine(
    open_app: OpenApp, make_body: MakeBody, recording_engine: RecordingEngine
) -> None:
    async with open_app(recording_engine) as client:
        await client.post("/v1/judge", json=make_body(samples=3, temperature=0.7, seed=5, max_tokens=99))
    sampling = recording_engine.samplings[0]
    assert (sampling.temperature, sampling.seed, sampling.max_tokens) == (0.7, 5, 99)
    assert len(recording_engine.prompts) == 6


async def test_without_max_tokens_the_setting_holds(
    open_app: OpenApp, make_body: MakeBody, recording_engine: RecordingEngine
) -> None:
    async with open_app(recording_engine, max_tokens=77) as client:
        await client.post("/v1/judge", json=make_body())
    assert recording_engine.samplings[0].max_tokens == 77


async def test_fast_mode_writes_no_critique(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    verdict = (await client.post("/v1/judge", json=make_body(mode="fast"))).json()
    assert verdict["critique"] == ""
    assert verdict["probabilities"] is not None


async def test_identical_responses_are_a_tie_without_a_model_call(
    open_app: OpenApp, make_body: MakeBody, recording_engine: RecordingEngine
) -> None:
    async with open_app(recording_engine) as client:
        response = await client.post("/v1/judge", json=make_body(response_a="One.", response_b="One."))
    verdict = response.json()
    assert (response.status_code, verdict["status"], verdict["preferred"]) == (200, "tie", None)
    assert verdict["probabilities"] == {"A": 0.5, "B": 0.5}
    assert recording_engine.num_calls == 0


async def test_an_unparsed_answer_is_a_status_and_no_error(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(FakeEngine(verdict="none")) as client:
        response = await client.post("/v1/judge", json=make_body())
    verdict = response.json()
    assert (response.status_code, verdict["status"], verdict["probabilities"]) == (200, "abstained", None)
    assert verdict["reason"]


async def test_an_engine_without_log_probabilities_is_named_in_the_verdict(
    open_app: OpenApp, make_body: MakeBody
) -> None:
    async with open_app(FakeEngine(has_logprobs=False)) as client:
        verdict = (await client.post("/v1/judge", json=make_body())).json()
    assert verdict["probability_source"] == "votes"


@pytest.mark.parametrize(("tie_margin", "status"), [(0.0, "decided"), (1.0, "tie")])
async def test_the_tie_margin_setting_decides_what_is_a_tie(
    open_app: OpenApp, make_body: MakeBody, tie_margin: float, status: str
) -> None:
    async with open_app(tie_margin=tie_margin) as client:
        assert (await client.post("/v1/judge", json=make_body())).json()["status"] == status


async def test_too_little_label_mass_abstains_by_the_setting(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(FakeEngine(label_mass=0.3), min_label_mass=0.5) as client:
        assert (await client.post("/v1/judge", json=make_body())).json()["status"] == "abstained"


async def test_timings_tell_media_from_engine(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(FakeEngine(delay_seconds=0.05)) as client:
        timings = (await client.post("/v1/judge", json=make_body())).json()["timings_ms"]
    assert timings["media"] > 0
    assert timings["engine"] >= 50
    assert timings["total"] >= timings["media"] + timings["engine"]


async def test_the_served_model_is_listed(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()
    assert models["object"] == "list"
    assert [(model["id"], model["object"]) for model in models["data"]] == [("fake", "model")]
