"""`POST /v1/verify`, and vision experts in judgements: evidence, pictures, refusals, failures."""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from prometheus_client import generate_latest

from experts.contract import Inquiry
from experts.fake import FakeChecker, FakeExpert
from experts.grounding_dino import GroundingDino
from genrm.errors import ModelLoadError
from genrm.shipped import expert_folder, samples_folder
from service.app import create_app
from service.client import VerifyResponse
from service.errors import StartError
from service.expert_choice import load_panel, parse_experts
from service.metrics import Metrics
from service.settings import load_settings

OpenApp = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
MakeBody = Callable[..., dict[str, Any]]
MakeImage = Callable[..., bytes]
TEXT = "There is a dog, and there is no cat. I also see a bus."
PAIR = {"response_a": "There is a dog.", "response_b": "There is a bus."}


def fail(_: Sequence[Inquiry]) -> None:
    raise RuntimeError("library text")


async def test_each_claim_gets_its_finding(open_app: OpenApp, make_body: MakeBody) -> None:
    body = {"image": make_body()["image"], "text": TEXT, "id": "v1"}
    async with open_app(experts=[FakeExpert({"dog": 1})]) as client:
        response = await client.post("/v1/verify", json=body)
    found = VerifyResponse.model_validate_json(response.content)
    assert (found.id, found.object, found.experts) == ("v1", "verification", ("fake (fake)",))
    assert {e.phrase: e.finding for e in found.evidence} == {
        "dog": "supported",
        "cat": "supported",
        "bus": "unsupported",
    }
    assert found.support is not None
    assert 0 < found.support < 1
    assert found.warnings == ()


async def test_a_claim_at_the_wrong_place_is_contradicted_and_names_the_place(
    open_app: OpenApp, make_body: MakeBody
) -> None:
    body = {"image": make_body()["image"], "text": "The dog is in the lower right. There is a bus."}
    async with open_app(experts=[FakeExpert({"dog": 1, "bus": 1})]) as client:
        response = await client.post("/v1/verify", json=body)
    dog, bus = response.json()["evidence"]
    assert (dog["place"], dog["finding"]) == ("lower right", "contradicted")
    assert (bus["place"], bus["finding"]) == (None, "supported")


async def test_the_picture_shows_the_evidence(open_app: OpenApp, make_image: MakeImage) -> None:
    async with open_app(experts=[FakeExpert({"dog": 1})]) as client:
        response = await client.post(
            "/v1/verify?annotated=png", data={"text": TEXT}, files={"image": make_image(size=(60, 40))}
        )
    assert response.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.width == 480
    assert picture.height > 320


async def test_without_experts_verification_is_refused_with_the_remedy(
    client: httpx.AsyncClient, make_body: MakeBody
) -> None:
    response = await client.post("/v1/verify", json={"image": make_body()["image"], "text": TEXT})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "no_experts"
    assert "GENRM_EXPERTS" in response.json()["error"]["message"]


async def test_an_option_that_would_do_nothing_is_refused(client: httpx.AsyncClient, make_body: MakeBody) -> None:
    response = await client.post("/v1/judge", json=make_body(experts="prompt"))
    assert (response.status_code, response.json()["error"]["param"]) == (422, "experts")
    assert (await client.post("/v1/judge", json=make_body(experts="off"))).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"text": None}, 422, "missing_field"),
        ({"question": "x"}, 422, "unknown_field"),
        ({"text": "x" * 20_001}, 413, "text_too_long"),
        ({"image": None}, 422, "missing_field"),
        ({"image": {"url": "https://example.com/a.png"}}, 422, "remote_image_refused"),
    ],
)
async def test_bad_input_is_named(
    open_app: OpenApp, make_body: MakeBody, change: dict[str, Any], status: int, code: str
) -> None:
    body = {"image": make_body()["image"], "text": TEXT} | change
    async with open_app(experts=[FakeExpert()]) as client:
        response = await client.post("/v1/verify", json={k: v for k, v in body.items() if v is not None})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_a_judgement_comes_with_evidence_unless_it_is_switched_off(
    open_app: OpenApp, make_body: MakeBody
) -> None:
    async with open_app(experts=[FakeExpert({"dog": 1})]) as client:
        verdict = (await client.post("/v1/judge", json=make_body(**PAIR))).json()
        without = (await client.post("/v1/judge", json=make_body(**PAIR, experts="off"))).json()
    assert [e["finding"] for name in "AB" for e in verdict["evidence"][name]] == ["supported", "unsupported"]
    assert verdict["timings_ms"]["experts"] > 0
    assert without["evidence"] == {"A": [], "B": []}


async def test_a_deployment_can_keep_evidence_from_the_model(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(experts=[FakeExpert({"dog": 1})], expert_use="off") as client:
        verdict = (await client.post("/v1/judge", json=make_body(**PAIR))).json()
    assert verdict["evidence"] == {"A": [], "B": []}


async def test_an_expert_that_fails_is_a_warning_and_no_failure(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(experts=[FakeExpert(behave=fail)]) as client:
        response = await client.post("/v1/judge", json=make_body(**PAIR))
    verdict = response.json()
    assert response.status_code == 200
    assert verdict["status"] == "decided"
    assert {e["finding"] for name in "AB" for e in verdict["evidence"][name]} == {"unchecked"}
    assert "'fake' failed" in verdict["warnings"][0]
    assert "library text" not in response.text


async def test_conflicts_are_counted(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(experts=[FakeExpert({"dog": 1})], expert_use="evidence") as client:
        given = (PAIR, {"response_a": PAIR["response_b"], "response_b": PAIR["response_a"]})
        verdicts = [(await client.post("/v1/judge", json=make_body(**pair))).json() for pair in given]
        metrics = (await client.get("/metrics")).text
    num_conflicts = sum(verdict["expert_conflict"] for verdict in verdicts)
    assert num_conflicts in (0, 2)  # mirrored, so both or none
    assert f"genrm_expert_conflicts_total {num_conflicts:.1f}" in metrics


@pytest.mark.parametrize("wanted", ["dino", "shipped:x", "grounding-dino", "shipped,what:now"])
def test_a_list_of_experts_that_cannot_be_read_says_what_is_allowed(wanted: str) -> None:
    with pytest.raises(StartError, match="Allowed are auto, none"):
        parse_experts(load_settings(experts=wanted))


def test_experts_that_cannot_be_read_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(StartError, match="Allowed are auto, none"):
        create_app(load_settings(experts="dino"))


def test_a_threshold_of_the_deployment_is_the_least_score_that_counts() -> None:
    panel = load_panel(load_settings(experts="shipped", expert_threshold=0.1), Metrics())
    assert panel is not None
    panel.close()
    (expert,) = panel.experts
    assert isinstance(expert, GroundingDino)
    assert (expert.options.box_threshold, expert.options.text_threshold) == (0.1, 0.1)


def test_experts_are_read_in_order() -> None:
    wanted = "grounding-dino:IDEA-Research/grounding-dino-base, detector:a/b,detectron2:c.yaml"
    assert parse_experts(load_settings(experts=wanted)) == [
        ("grounding-dino", "IDEA-Research/grounding-dino-base"),
        ("detector", "a/b"),
        ("detectron2", "c.yaml"),
    ]
    assert parse_experts(load_settings(experts="none")) == []
    assert parse_experts(load_settings(model="some/judge")) == []


def test_an_expert_that_cannot_be_loaded_is_named_or_left_out_as_configured(tmp_path: Path) -> None:
    wanted = f"grounding-dino:{tmp_path}"
    remedy = r"Expert grounding-dino: .*config\.json is missing.*GENRM_EXPERTS_REQUIRED=false"
    with pytest.raises(ModelLoadError, match=remedy):
        load_panel(load_settings(experts=wanted), Metrics())
    assert load_panel(load_settings(experts=wanted, experts_required=False), Metrics()) is None


def test_a_checker_of_statements_is_shipped_or_named() -> None:
    assert parse_experts(load_settings(experts="shipped,statements:shipped,statements:a/b")) == [
        ("shipped", str(expert_folder())),
        ("statements", "shipped"),
        ("statements", "a/b"),
    ]
    with pytest.raises(StartError, match=r"'statements' is no expert.*statements:shipped"):
        parse_experts(load_settings(experts="statements"))


def test_a_checker_that_cannot_be_loaded_is_named_or_left_out_as_configured(tmp_path: Path) -> None:
    wanted = f"statements:{tmp_path}"
    with pytest.raises(ModelLoadError, match=r"Expert statements: .*GENRM_EXPERTS_REQUIRED=false"):
        load_panel(load_settings(experts=wanted), Metrics())
    assert load_panel(load_settings(experts=wanted, experts_required=False), Metrics()) is None


async def test_the_shipped_policy_checks_statements_beside_the_shipped_expert() -> None:
    metrics = Metrics()
    panel = load_panel(load_settings(experts="shipped,statements:shipped", expert_timeout_seconds=60), metrics)
    assert panel is not None
    [row, *_] = [json.loads(line) for line in (samples_folder() / "rows.jsonl").read_text("utf-8").splitlines()]
    picture = Image.open(samples_folder() / row["image"]).convert("RGB")
    found = await panel.verify_text([picture], "The sign says qwertyuiop.")
    panel.close()
    assert [member.name for member in panel.members] == ["shipped", "statements"]
    assert [(e.kind, e.finding) for e in found.evidence] == [("statement", "contradicted")]
    assert b'expert="statements"' in generate_latest(metrics.registry)


async def test_statements_come_with_a_verdict_and_a_verification(open_app: OpenApp, make_body: MakeBody) -> None:
    checker = FakeChecker({"The mat is red.": 0.9, "The mat is blue.": 0.1})
    pair = {"response_a": "The mat is red.", "response_b": "The mat is blue.", "experts": "combine"}
    async with open_app(experts=[FakeExpert()], checkers=[checker]) as client:
        verdict = (await client.post("/v1/judge", json=make_body(**pair))).json()
        body = {"image": make_body()["image"], "text": "The mat is blue."}
        found = VerifyResponse.model_validate_json((await client.post("/v1/verify", json=body)).content)
    assert verdict["evidence_log_odds"] == pytest.approx(1.609, abs=1e-3)
    assert [(e["kind"], e["finding"]) for name in "AB" for e in verdict["evidence"][name]] == [
        ("statement", "supported"),
        ("statement", "contradicted"),
    ]
    assert found.experts == ("fake (fake)", "fake-statements (fake)")
    assert found.support == 0.1


def test_two_experts_of_one_kind_have_names_of_their_own() -> None:
    folder = expert_folder()
    panel = load_panel(load_settings(experts=f"grounding-dino:{folder},grounding-dino:{folder}"), Metrics())
    assert panel is not None
    panel.close()
    assert [expert.name for expert in panel.experts] == ["grounding-dino", "grounding-dino-2"]
