"""`POST /v1/rerank`: the shape that rerank clients know, what is refused, and what is counted."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from genrm import best_of_n, judge
from genrm.prompts import neutralise
from service.rerank_schemas import RerankResponse

if TYPE_CHECKING:
    from tests.service.conftest import MakeImage, OpenApp, RecordingEngine

TEXTS = ["There is one disc.", "There are two discs, I believe.", "There are three."]


@pytest.fixture
def url(make_image: MakeImage) -> str:
    """A picture as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(make_image()).decode()}"


def body(url: str, **fields: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "How many discs?"}]
    return {"query": {"content": parts}, "documents": TEXTS, **fields}


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
async def test_results_are_sorted_and_complete(client: httpx.AsyncClient, url: str, path: str) -> None:
    answer = await client.post(path, json=body(url))
    assert answer.status_code == 200, answer.text
    ranking = RerankResponse.model_validate_json(answer.content)
    assert sorted(result.index for result in ranking.results) == [0, 1, 2]
    scores = [result.relevance_score for result in ranking.results]
    assert scores == sorted(scores, reverse=True)
    assert (ranking.strategy, ranking.judgements, ranking.model) == ("all_pairs", 3, "fake")
    assert ranking.usage.total_tokens == ranking.usage.prompt_tokens + ranking.usage.completion_tokens > 0
    assert ranking.usage.cached_tokens > 0
    assert ranking.timings_ms.total > 0
    assert all(result.document is None for result in ranking.results)


async def test_documents_are_texts_objects_or_parts_alike(client: httpx.AsyncClient, url: str) -> None:
    forms = [
        TEXTS,
        [{"text": text} for text in TEXTS],
        [{"content": [{"type": "text", "text": text}]} for text in TEXTS],
    ]
    answers = [
        (await client.post("/v1/rerank", json=body(url, documents=form, return_documents=True))).json()["results"]
        for form in forms
    ]
    assert answers[0] == answers[1] == answers[2]
    assert [result["document"]["text"] for result in answers[0]] == [TEXTS[r["index"]] for r in answers[0]]


async def test_images_may_stand_beside_a_bare_query(
    open_app: OpenApp, recording_engine: RecordingEngine, url: str
) -> None:
    async with open_app(recording_engine) as client:
        bare = {"query": "How many discs?", "documents": TEXTS, "image": {"url": url}, "mode": "fast", "top_n": 1}
        answer = await client.post("/v1/rerank", json=bare)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["results"]) == 1
        several = {**bare, "images": [{"url": url}, {"url": url}]}
        del several["image"]
        assert (await client.post("/v1/rerank", json=several)).status_code == 200
    assert {len(prompt.images) for prompt in recording_engine.prompts} == {1, 2}
    assert all(prompt.answer_prefix for prompt in recording_engine.prompts)


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"documents": []}, 422, "invalid_value", "documents"),
        ({"documents": ["a", ""]}, 422, "invalid_value", "documents[1]"),
        ({"documents": ["a"] * 65}, 422, "invalid_value", "documents"),
        ({"documents": ["a", 3]}, 422, "invalid_value", "documents[1]"),
        ({"query": "How many?"}, 422, "missing_field", "image"),
        ({"query": {"content": [{"type": "video", "video": "x"}]}}, 422, "invalid_value", "query.content[0]"),
        ({"strategy": "round_robin"}, 422, "invalid_value", "strategy"),
        ({"budget": 1}, 422, "invalid_value", "budget"),
        ({"top_n": 0}, 422, "invalid_value", "top_n"),
        ({"model": "gpt"}, 404, "model_not_found", "model"),
        ({"experts": "prompt"}, 422, "invalid_value", "experts"),
        ({"rank_fields": ["x"]}, 422, "unknown_field", "rank_fields"),
    ],
)
async def test_what_is_wrong_is_refused_and_named(
    client: httpx.AsyncClient, url: str, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    answer = await client.post("/v1/rerank", json=body(url, **fields))
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"documents": ["a", "b" * 20_001]}, "documents[1]"), ({"query": "q" * 20_001, "image": {"url": "x"}}, "query")],
)
async def test_a_text_over_the_limit_is_refused_before_it_is_read(
    client: httpx.AsyncClient, url: str, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], param: str
) -> None:
    reads: list[int] = []

    def read(text: str) -> str:
        reads.append(len(text))
        return neutralise(text)

    for module in (judge, best_of_n):
        monkeypatch.setattr(module, "neutralise", read)
    answer = await client.post("/v1/rerank", json=body(url, **fields))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (413, "text_too_long", param)
    assert all(length <= 20_000 for length in reads)


async def test_images_belong_into_one_place(client: httpx.AsyncClient, url: str) -> None:
    picture = {"type": "image_url", "image_url": {"url": url}}
    for wrong, param in (
        (body(url, image={"url": url}), "image"),
        (body(url, images=[{"url": url}]), "images"),
        (body(url, documents=["a", {"content": [picture]}]), "documents[1]"),
    ):
        answer = await client.post("/v1/rerank", json=wrong)
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


async def test_an_idle_replica_with_a_short_queue_takes_every_ranking(open_app: OpenApp, url: str) -> None:
    async with open_app(max_queue=2) as client:
        answer = await client.post("/v1/rerank", json=body(url, strategy="all_pairs"))
    assert (answer.status_code, answer.json().get("judgements")) == (200, 3)


async def test_a_form_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/rerank", data={"query": "Which?"})
    assert answer.status_code == 415
    assert "this URL takes application/json" in answer.json()["error"]["message"]


async def test_a_remote_image_is_refused_with_its_place(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/rerank", json=body("https://example.com/dog.png"))
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("remote_image_refused", "query.content[0].image_url.url")


async def test_every_judgement_of_a_ranking_is_counted(client: httpx.AsyncClient, url: str) -> None:
    await client.post("/v1/rerank", json=body(url))
    series = (await client.get("/metrics")).text.splitlines()
    verdicts = [float(line.split()[-1]) for line in series if line.startswith("genrm_verdicts_total{")]
    assert sum(verdicts) == 3
    [media] = [line for line in series if line.startswith("genrm_media_duration_seconds_count")]
    assert media.endswith(" 1.0")
