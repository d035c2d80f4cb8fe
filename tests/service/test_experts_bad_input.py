"""What a service with vision experts does with texts, images and experts that nobody wished for: it answers.

Every case goes through `POST /v1/verify`, as JSON and as picture, and through `POST /v1/judge`.
"""

from __future__ import annotations

import io
import math
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from experts.contract import Expert, Inquiry
from experts.fake import FakeExpert
from experts.lexicon import default_lexicon
from experts.panel import MAX_PHRASES, ExpertPanel
from genrm.engines.fake import FakeEngine
from genrm.errors import ModelLoadError
from genrm.shipped import expert_folder
from genrm.types import Detection
from service.app import create_app
from service.client import JudgeResponse, VerifyResponse
from service.expert_choice import load_panel
from service.metrics import Metrics
from service.settings import Settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service.conftest import MakeBody, MakeImage, OpenApp

Box = tuple[float, float, float, float]
Answer = Callable[[Sequence[Inquiry]], Any]


class OddExpert(FakeExpert):
    """Answers as it is told to, whatever the contract says."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(name="odd")
        self._answer = answer

    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """As told."""
        answer: list[tuple[Detection, ...]] = self._answer(inquiries)
        return answer


def find(box: Box = (5, 5, 20, 20), *, score: float = 0.9, phrase: str = "dog") -> Detection:
    """A detection as a careless expert makes it: nothing is checked."""
    return Detection.model_construct(phrase=phrase, score=score, box=box, expert="odd", model="odd")


@asynccontextmanager
async def open_service(
    build_panel: Callable[[Settings, Metrics], ExpertPanel | None] = load_panel, **settings: object
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service on the fake engine with the experts of its settings, or with another panel."""
    app = create_app(load_settings(**settings), lambda *_: FakeEngine(), build_panel)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        await app.state.lifecycle.wait_until_loaded()
        yield client


async def ask(client: httpx.AsyncClient, body: dict[str, Any], text: str) -> tuple[VerifyResponse, JudgeResponse]:
    """What verification and judgement say of a text; the picture must be one as well."""
    request = {"image": body["image"], "text": text}
    verified = await client.post("/v1/verify", json=request)
    picture = await client.post("/v1/verify?annotated=png", json=request)
    judged = await client.post("/v1/judge", json=body | {"response_a": text, "response_b": "I do not know."})
    assert [response.status_code for response in (verified, picture, judged)] == [200] * 3, judged.text
    with Image.open(io.BytesIO(picture.content)) as image:
        image.load()
    verdict = JudgeResponse.model_validate_json(judged.content)
    assert verdict.status == "decided"
    return VerifyResponse.model_validate_json(verified.content), verdict


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "It is a lovely day.",
        "42",
        "这张图片里有一只狗和两辆汽车。",
        "يوجد كلب في الصورة ولا توجد قطة.",
        "На картинке собака.",
        "🐶🐱 🚗🚗",
        "\u202e god \x00 \ufffc",
    ],
)
async def test_a_text_without_objects_it_can_read_is_judged_without_evidence(
    open_app: OpenApp, make_body: MakeBody, text: str
) -> None:
    expert = FakeExpert({"dog": 1})
    async with open_app(experts=[expert]) as client:
        verified, verdict = await ask(client, make_body(question="What is it?"), text)
    assert (verified.evidence, verified.support, verified.warnings) == ((), None, ())
    assert (verdict.evidence.A, verdict.warnings, verdict.expert_conflict) == ((), (), False)
    assert expert.batches == []


async def test_objects_among_words_of_another_script_are_checked(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(experts=[FakeExpert({"dog": 1})]) as client:
        verified, verdict = await ask(client, make_body(), "图片里有 a dog 🐶, но no cat. لا")
    assert {e.phrase: e.finding for e in verified.evidence} == {"dog": "supported", "cat": "supported"}
    assert verified.evidence == verdict.evidence.A


async def test_of_500_objects_in_a_text_as_many_are_checked_as_the_warning_says(
    open_app: OpenApp, make_body: MakeBody
) -> None:
    names = default_lexicon().names
    text = " ".join(f"There is a {names[number % len(names)]}." for number in range(500))
    expert = FakeExpert()
    async with open_app(experts=[expert]) as client:
        verified, verdict = await ask(client, make_body(), text)
    warning = f"{len(names)} objects are named; the experts were asked for {MAX_PHRASES} of them."
    for evidence, warnings in ((verified.evidence, verified.warnings), (verdict.evidence.A, verdict.warnings)):
        assert warnings == (warning,)
        assert len(evidence) == len(names)
        assert sum(item.finding == "unchecked" for item in evidence) == len(names) - MAX_PHRASES
    assert {len(inquiry.phrases) for batch in expert.batches for inquiry in batch} == {MAX_PHRASES}


async def test_a_mention_longer_than_any_phrase_limit_is_asked_for_by_its_name(
    open_app: OpenApp, make_body: MakeBody
) -> None:
    mention = "very-" * 60 + "dog"
    async with open_app(experts=[FakeExpert({"dog": 1})]) as client:
        verified, _ = await ask(client, make_body(), f"There is a {mention} and a {'large ' * 300}cat.")
    assert [(e.phrase, e.mention, e.finding) for e in verified.evidence] == [
        ("dog", mention, "supported"),
        ("cat", "cat", "unsupported"),
    ]


# --- what an expert answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((5, 5, 5, 20), None),
        ((20, 5, 5, 20), None),
        ((500, 500, 600, 600), None),
        ((-90, -90, -1, -1), None),
        ((-40, -1e300, 1e300, 20), (0, 0, 48, 20)),
    ],
    ids=["no width", "turned round", "right of the image", "left of the image", "over its edges"],
)
async def test_a_box_is_cut_to_the_image_and_dropped_if_nothing_is_left(
    open_app: OpenApp, make_body: MakeBody, box: Box, kept: Box | None
) -> None:
    async with open_app(experts=[OddExpert(lambda inquiries: [(find(box),) for _ in inquiries])]) as client:
        verified, verdict = await ask(client, make_body(), "There is a dog.")
    (evidence,) = verified.evidence
    assert [detection.box for detection in evidence.detections] == ([] if kept is None else [kept])
    assert evidence.finding == ("unsupported" if kept is None else "supported")
    assert verified.evidence == verdict.evidence.A


def fail(_: Sequence[Inquiry]) -> None:
    raise RuntimeError("library text")


UNUSABLE: dict[str, Answer] = {
    "raises": fail,
    "box of NaN": lambda inquiries: [(find((math.nan, 0, 10, 10)),) for _ in inquiries],
    "infinite box": lambda inquiries: [(find((0, 0, math.inf, 10)),) for _ in inquiries],
    "box of three numbers": lambda inquiries: [(find((0, 0, 1)),) for _ in inquiries],  # type: ignore[arg-type]
    "score of NaN": lambda inquiries: [(find(score=math.nan),) for _ in inquiries],
    "score above 1": lambda inquiries: [(find(score=1.5),) for _ in inquiries],
    "score below 0": lambda inquiries: [(find(score=-math.inf),) for _ in inquiries],
    "score that the type refuses": lambda _: [
        Detection(phrase="dog", score=math.nan, box=(0, 0, 1, 1), expert="", model="")
    ],
    "too few results": lambda inquiries: [(find(),) for _ in inquiries[1:]],
    "too many results": lambda inquiries: [(find(),) for _ in (*inquiries, *inquiries)],
    "nothing for an image": lambda inquiries: [None for _ in inquiries],
    "no results": lambda _: None,
    "no detections": lambda inquiries: [("dog",) for _ in inquiries],
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_an_expert_whose_answer_is_unusable_costs_its_findings_only(
    open_app: OpenApp, make_body: MakeBody, answer: Answer
) -> None:
    sound = FakeExpert({"cat": 1}, name="sound", vocabulary=frozenset({"cat"}))
    async with open_app(experts=[OddExpert(answer), sound]) as client:
        for _ in range(2):  # and it is asked again
            verified, verdict = await ask(client, make_body(), "There is a dog and a cat.")
            assert [e.finding for e in verified.evidence] == ["unchecked", "supported"]
            assert verified.evidence == verdict.evidence.A
            for (warning,) in (verified.warnings, verdict.warnings):
                assert "'odd' failed on this image" in warning
                assert "library text" not in warning


async def test_what_nobody_asked_for_is_left_out(open_app: OpenApp, make_body: MakeBody) -> None:
    def answer(inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        return [(find(), find(phrase="unicorn"), find(phrase="cat")) for _ in inquiries]

    async with open_app(experts=[OddExpert(answer)]) as client:
        verified, verdict = await ask(client, make_body(question="What is it?"), "There is a dog.")
    assert [[d.phrase for d in e.detections] for e in verified.evidence] == [["dog"]]
    assert verified.evidence == verdict.evidence.A


async def test_an_expert_that_hangs_is_waited_for_no_longer_than_allowed(make_body: MakeBody) -> None:
    release = threading.Event()
    hanging = FakeExpert({"dog": 1}, name="hanging", behave=lambda _: release.wait(60))
    panel = ExpertPanel([hanging, FakeExpert({"cat": 1}, vocabulary=frozenset({"cat"}))], timeout_seconds=0.2)
    async with open_service(lambda *_: panel) as client:
        verified, verdict = await ask(client, make_body(), "There is a dog and a cat.")
    release.set()
    assert [e.finding for e in verified.evidence] == ["unchecked", "supported"]
    assert "'hanging' did not answer within 0.2 s (GENRM_EXPERT_TIMEOUT_SECONDS)" in verified.warnings[0]
    assert [e.finding for e in verdict.evidence.A] == ["unchecked", "supported"]
    assert "'hanging' still works on an earlier image" in verdict.warnings[0]


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 40), (40, 1)])
async def test_an_image_with_a_side_of_one_pixel_is_refused_with_the_setting_that_allows_it(
    open_app: OpenApp, make_body: MakeBody, make_image: MakeImage, size: tuple[int, int]
) -> None:
    body = make_body(make_image(size=size))
    async with open_app(experts=[FakeExpert({"dog": 1})]) as client:
        for url in ("/v1/verify", "/v1/verify?annotated=png"):
            response = await client.post(url, json={"image": body["image"], "text": "There is a dog."})
            error = response.json()["error"]
            assert (response.status_code, error["code"], error["param"]) == (415, "invalid_image", "image.url")
            assert f"{size[0]}x{size[1]} pixels; each side must have at least 8" in error["message"]
            assert "GENRM_MIN_IMAGE_SIDE_PIXELS" in error["message"]


@pytest.fixture(scope="module")
def shipped() -> Expert:
    """The shipped expert, as the service loads it."""
    panel = load_panel(load_settings(experts="shipped"), Metrics())
    assert panel is not None
    panel.close()
    return panel.experts[0]


@pytest.mark.parametrize("size", [(1, 90), (90, 1), (1, 1)])
async def test_where_it_is_allowed_an_image_with_a_side_of_one_pixel_is_looked_at(
    shipped: Expert, open_app: OpenApp, make_body: MakeBody, make_image: MakeImage, size: tuple[int, int]
) -> None:
    async with open_app(experts=[shipped], min_image_side_pixels=1) as client:
        verified, verdict = await ask(client, make_body(make_image(size=size)), "There is a dog and no cat.")
    assert all(evidence.finding != "unchecked" for evidence in verified.evidence)
    assert (verified.warnings, verdict.warnings) == ((), ())


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2, 3)])
def test_the_shipped_expert_finds_nothing_outside_a_sliver(shipped: Expert, size: tuple[int, int]) -> None:
    inquiry = Inquiry(image=Image.new("RGB", size, "orange"), phrases=("dog", "orange", "hot dog"))
    (found,) = shipped.detect([inquiry])
    assert all(0 <= d.box[0] < d.box[2] <= size[0] and 0 <= d.box[1] < d.box[3] <= size[1] for d in found)


async def test_the_shipped_expert_leaves_names_it_never_learnt_unchecked(
    shipped: Expert, open_app: OpenApp, make_body: MakeBody
) -> None:
    unknown = [name for name in default_lexicon().names if not shipped.covers(name)]
    async with open_app(experts=[shipped]) as client:
        verified, _ = await ask(client, make_body(), " ".join(f"There is a {name}." for name in unknown))
    assert len(verified.evidence) == len(unknown) > 0
    assert {evidence.finding for evidence in verified.evidence} == {"unchecked"}


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def without_weights(tmp_path: Path) -> Path:
    """The shipped expert's folder, but for its weights."""
    shutil.copytree(expert_folder(), tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    return tmp_path


async def test_a_service_whose_expert_lacks_its_weights_does_not_start_and_names_file_and_remedy(
    without_weights: Path,
) -> None:
    with pytest.raises(ModelLoadError, match=r"model\.safetensors is missing.*GENRM_EXPERTS_REQUIRED=false"):
        async with open_service(experts=f"grounding-dino:{without_weights}"):
            pass


async def test_a_service_that_may_goes_on_without_the_expert_that_lacks_its_weights(
    without_weights: Path, make_body: MakeBody
) -> None:
    body = make_body()
    async with open_service(experts=f"grounding-dino:{without_weights}", experts_required=False) as client:
        judged = await client.post("/v1/judge", json=body)
        verified = await client.post("/v1/verify", json={"image": body["image"], "text": "There is a dog."})
        ready = await client.get("/readyz")
    assert (judged.status_code, judged.json()["status"], judged.json()["evidence"]) == (
        200,
        "decided",
        {"A": [], "B": []},
    )
    assert (verified.status_code, verified.json()["error"]["code"]) == (404, "no_experts")
    assert ready.status_code == 200
