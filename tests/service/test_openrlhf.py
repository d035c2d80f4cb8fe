"""OpenRLHF's remote reward model: what its versions send, what they read, and what is refused.

The requests are those of `SingleTurnAgentExecutor._fetch_rewards_via_http` (openrlhf/utils/agent.py, 0.11.0: one row a
request) and of `remote_rm_fn` (openrlhf/utils/remote_rm_utils.py of LMM-R1 0.7.3a and OpenRLHF-M 0.6.1: all rows).
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import torch

from genrm.engines.fake import FakeEngine
from genrm.judge import Judge
from service import openrlhf_reward
from service.openapi import EXAMPLE_REWARD_REQUEST
from service.openrlhf_rows import read_rows
from service.openrlhf_schemas import RewardRequest, RewardResponse
from service.settings import load_settings

if TYPE_CHECKING:
    from tests.service.conftest import MakeBody, MakeImage, OpenApp, RecordingEngine, Serve

URL = "/v1/rewards/openrlhf"
PADS = "<|image_pad|>" * 40
USER = "<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"


def templated(question: str, pads: str = "<|image_pad|>") -> str:
    """A prompt as Qwen2-VL's chat template makes it."""
    return "<|im_start|>system\nBe brief.<|im_end|>\n" + USER.format(pads=pads, question=question)


def rows_of(image: str, answers: dict[str, list[str]], **label: object) -> dict[str, list[Any]]:
    """A request with several completions of several prompts."""
    rows = [(question, answer) for question, several in answers.items() for answer in several]
    return {
        "query": [f"{templated(question, PADS)}{answer}<|im_end|>\n<|endoftext|>" for question, answer in rows],
        "prompts": [templated(question) for question, _ in rows],
        "labels": [{"image": image, "question": question, **label} for question, _ in rows],
    }


def read_one(query: str, prompt: str, label: object) -> tuple[str, str]:
    """Question and answer of a row."""
    fields = RewardRequest(query=(query,), prompts=(prompt,), labels=(label,))
    (row,) = read_rows(fields, Judge(FakeEngine()), load_settings())
    return row.question, row.answer


@pytest.fixture
def image(make_body: MakeBody) -> str:
    """A picture as a data URL."""
    url: str = make_body()["image"]["url"]
    return url


async def test_completions_of_one_prompt_are_ranked_against_each_other(
    open_app: OpenApp, recording_engine: RecordingEngine, image: str
) -> None:
    body = rows_of(image, {"How many?": ["One.", "Two.", "Three."], "Which colour?": ["Teal.", "Orange."]})
    body = {name: [values[index] for index in (0, 3, 1, 4, 2)] for name, values in body.items()}
    async with open_app(recording_engine) as client:
        response = await client.post(URL, json=body)
    answer = RewardResponse.model_validate_json(response.content)
    assert answer.rewards == answer.scores
    assert sum(answer.rewards[index] for index in (0, 2, 4)) == pytest.approx(1.5)
    assert sum(answer.rewards[index] for index in (1, 3)) == pytest.approx(1.0)
    assert len(set(answer.rewards)) > 1
    assert answer.extra_logs is not None
    assert answer.extra_logs.genrm_abstained == answer.extra_logs.genrm_alone == (0.0,) * 5
    assert {prompt.shared for prompt in recording_engine.prompts} == {
        "Question: How many?\n",
        "Question: Which colour?\n",
    }
    assert not any("<|" in prompt.tail for prompt in recording_engine.prompts)


async def test_rewards_are_those_of_a_ranking(client: httpx.AsyncClient, image: str) -> None:
    answers = ["One.", "Two.", "Three.", "Four."]
    rewards = (
        await client.post(f"{URL}?strategy=knockout&mode=fast", json=rows_of(image, {"How many?": answers}))
    ).json()
    ranking = {"query": "How many?", "image": {"url": image}, "documents": answers}
    found = (await client.post("/v1/rerank", json=ranking | {"strategy": "knockout", "mode": "fast"})).json()
    scores = {result["index"]: result["relevance_score"] for result in found["results"]}
    assert rewards["rewards"] == [scores[index] for index in range(4)]


async def test_a_completion_in_a_request_of_its_own_is_compared_with_the_label_s_reference(
    client: httpx.AsyncClient, image: str
) -> None:
    """OpenRLHF 0.11: each completion alone; the trainer takes `rewards`, `scores`, `extra_logs` of the first server."""
    found = []
    for answer in ("One.", "Two.", "Two."):
        label = json.dumps({"image": image, "question": "How many?", "reference": "Two.", "source": "set 1"})
        body = rows_of("", {"How many?": [answer]}) | {"labels": [label]}
        found.append((await client.post(URL, json=body)).json())
    assert [len(each["rewards"]) for each in found] == [1, 1, 1]
    assert found[0]["rewards"][0] != 0.5
    assert found[1] == found[2]
    assert found[1]["rewards"] == [0.5]  # the reference itself
    assert [each["extra_logs"]["genrm_alone"] for each in found] == [[0.0]] * 3


async def test_a_second_server_s_empty_share_is_answered(client: httpx.AsyncClient) -> None:
    """With two URLs and one row, OpenRLHF sends the second server empty lists."""
    response = await client.post(URL, json={"query": [], "prompts": [], "labels": []})
    assert response.json() == {
        "rewards": [],
        "scores": [],
        "extra_logs": {"genrm_abstained": [], "genrm_alone": []},
    }


async def test_conversations_as_json_bring_their_images(
    client: httpx.AsyncClient, recording_engine: RecordingEngine, open_app: OpenApp, image: str
) -> None:
    """LMM-R1 and OpenRLHF-M: prompts are the dataset's messages, queries have been through the template."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "How many?"}]},
    ]
    body = rows_of("", {"How many?": ["One.", "Two."]}) | {"prompts": [json.dumps(messages)] * 2, "labels": ["2", "2"]}
    async with open_app(recording_engine) as http:
        full = (await http.post(URL, json=body)).json()
        bare = (await http.post(f"{URL}?extra_logs=false", json=body)).json()
    assert sum(full["rewards"]) == pytest.approx(1)
    assert bare == {"rewards": full["rewards"], "scores": full["scores"]}
    assert {prompt.shared for prompt in recording_engine.prompts} == {"Question: How many?\n"}
    tensors = {name: torch.tensor(values) for name, values in bare.items()}  # what OpenRLHF-M makes of every field
    assert tensors["rewards"].shape == (2,)


async def test_a_row_alone_among_others_is_neutral_and_told(client: httpx.AsyncClient, image: str) -> None:
    answer = (await client.post(URL, json=rows_of(image, {"How many?": ["One.", "Two."], "Which?": ["Teal."]}))).json()
    assert answer["rewards"][2] == 0.5
    assert answer["extra_logs"]["genrm_alone"] == [0, 0, 1]


async def test_rows_that_are_all_alone_are_refused_with_the_remedy(client: httpx.AsyncClient, image: str) -> None:
    response = await client.post(URL, json=rows_of(image, {"How many?": ["One."], "Which?": ["Teal."]}))
    assert response.status_code == 422
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "query")
    assert "'reference'" in error["message"]


async def test_abstentions_are_draws_and_told(open_app: OpenApp, image: str) -> None:
    async with open_app(FakeEngine(verdict="none")) as client:
        answer = (await client.post(URL, json=rows_of(image, {"How many?": ["One.", "Two.", "Three."]}))).json()
    assert answer["rewards"] == pytest.approx([0.5] * 3)
    assert answer["extra_logs"]["genrm_abstained"] == [1, 1, 1]


async def test_equal_questions_about_other_pictures_are_other_groups(
    client: httpx.AsyncClient, make_image: MakeImage, image: str
) -> None:
    from tests.service.conftest import to_data_url

    body = rows_of(image, {"How many?": ["One.", "Two.", "One."]})
    body["labels"][2] = {"images": [{"url": to_data_url(make_image(colour="red"))}], "question": "How many?"}
    answer = (await client.post(URL, json=body)).json()
    assert answer["extra_logs"]["genrm_alone"] == [0, 0, 1]


@pytest.mark.parametrize(
    ("query", "prompt", "answer"),
    [
        ("How many?\nAnswer: Two.", "How many?\nAnswer: ", "Two."),
        ("<|endoftext|><|endoftext|>" + templated("?") + "Two.<|im_end|>", templated("?"), "Two."),
        (templated("?", PADS) + "Two.<|im_end|>\n<|endoftext|><|endoftext|>", templated("?"), "Two."),
        (templated("?") + "Two <|im_end|> words.", templated("?"), "Two <|im_end|> words."),
        ("cut off?<|im_end|>\n<|im_start|>assistant\nTwo.", templated("A long question that is cut off?"), "Two."),
        (templated("?") + "One.<|im_start|>assistant\nTwo.", templated("?"), "One.<|im_start|>assistant\nTwo."),
        ("x?<|im_start|>assistant\nOne.<|im_start|>assistant\nTwo.", templated("?"), "One.<|im_start|>assistant\nTwo."),
        ("<bos><start_of_turn>user\nx<end_of_turn>\n<start_of_turn>model\nTwo.<end_of_turn>", "other", "Two."),
        (templated("?") + "<|im_end|>", templated("?"), "(no answer)"),
        ("x</s></s>" * 3, "x", "</s></s>x</s></s>x"),
    ],
)
def test_the_completion_is_what_follows_the_prompt(query: str, prompt: str, answer: str, image: str) -> None:
    assert read_one(query, prompt, {"image": image, "question": "How many?"}) == ("How many?", answer)


def test_a_turn_of_the_assistant_in_the_prompt_is_no_completion(image: str) -> None:
    turns = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "<image>How many?"},
    ]
    marker = "<|im_start|>assistant\n"
    query = f"Hi{marker}Hello.<|im_end|>\nHow many?{marker}Two.{marker}Three.<|im_end|>"
    assert read_one(query, json.dumps(turns), "2") == ("How many?", f"Two.{marker}Three.")


async def test_what_cannot_be_told_is_refused_with_its_place(client: httpx.AsyncClient, image: str) -> None:
    right = rows_of(image, {"How many?": ["One.", "Two."]})
    first = right["labels"][0]
    parts = [{"type": "image", "image": "file:///dog.jpg"}, {"type": "text", "text": "?"}]
    message = json.dumps([{"role": "user", "content": parts}])
    remote = {"image": "https://example.com/x.png", "question": "?"}
    half = json.dumps({"image": "http:\ud800", "question": "?"})  # of a surrogate pair, which no answer can hold
    cases: list[tuple[dict[str, Any], int, str, str]] = [
        ({"labels": ["2", "2"]}, 422, "missing_field", "labels[0].question"),
        ({"labels": None}, 422, "missing_field", "labels[0].question"),
        ({"labels": [first, {"question": "How many?"}]}, 422, "missing_field", "labels[1]"),
        ({"labels": [first, {"image": image}]}, 422, "missing_field", "labels[1].question"),
        ({"labels": [first, {"image": 3, "question": "?"}]}, 422, "invalid_value", "labels[1].image"),
        ({"labels": [first, {"image": image, "question": 3}]}, 422, "invalid_value", "labels[1].question"),
        ({"labels": [first, {"images": [image] * 9, "question": "?"}]}, 413, "too_many_images", "labels[1].images"),
        ({"labels": [first]}, 422, "invalid_value", "labels"),
        ({"prompts": right["prompts"][:1]}, 422, "invalid_value", "prompts"),
        ({"query": [right["query"][0], "Something else."]}, 422, "invalid_value", "query[1]"),
        ({"labels": [remote] * 2}, 422, "remote_image_refused", "labels[0].image"),
        ({"labels": [half] * 2}, 422, "remote_image_refused", "labels[0].image"),
        ({"prompts": [message] * 2, "labels": None}, 422, "invalid_value", "prompts[0]"),
        ({"prompts": ['[{"role": "user", "content": [1]}]'] * 2, "labels": None}, 422, "invalid_value", "prompts[0]"),
        ({"prompts": None}, 422, "invalid_value", "prompts"),
        ({"documents": []}, 422, "unknown_field", "documents"),
        ({"labels": [first, {**first, "reference": " "}]}, 422, "invalid_value", "labels[1].reference"),
        ({"query": [right["query"][0], right["query"][1] + "x" * 30_000]}, 413, "text_too_long", "query[1]"),
        ({"query": [right["query"][0], "</s>x" * 500_000]}, 413, "text_too_long", "query[1]"),
        ({"query": [right["query"][0], right["query"][1] + "</s>x" * 200_000]}, 413, "text_too_long", "query[1]"),
        ({"prompts": [right["prompts"][0], "<|a|>" * 500_000]}, 413, "text_too_long", "prompts[1]"),
        ({"labels": [first, json.dumps({"x": [1] * 9_000})]}, 413, "body_too_large", ""),
    ]  # fmt: skip
    for change, status, code, param in cases:
        response = await client.post(URL, json={**right, **change})
        error = response.json()["error"]
        found = (response.status_code, error["code"], error["param"] or "")
        assert found == (status, code, param), (change, error["message"])


async def test_limits_are_those_of_rankings(open_app: OpenApp, image: str) -> None:
    async with open_app(max_candidates=3) as client:
        group = await client.post(URL, json=rows_of(image, {"How many?": ["1", "2", "3", "4"]}))
        rows = await client.post(URL, json=rows_of("", {"How many?": ["1"] * 25}))
        fits = await client.post(URL, json=rows_of(image, {f"{i}?": ["1", "2", "3"] for i in range(8)}))
    assert (group.status_code, group.json()["error"]["param"]) == (422, "query")
    assert "GENRM_MAX_CANDIDATES" in group.json()["error"]["message"]
    assert rows.json()["error"]["message"].startswith("The request has 25 rows; the limit is 24")
    assert fits.status_code == 200


async def test_a_replica_that_is_full_refuses_by_the_judgements_at_once(open_app: OpenApp, image: str) -> None:
    answers = [str(number) for number in range(8)]  # 28 judgements a prompt, two prompts at once
    body = rows_of(image, {f"{i}?": answers for i in range(5)})
    async with open_app(max_queue=57) as client:
        admission = client._transport.app.state.admission  # type: ignore[attr-defined]
        with admission.admit():
            assert (await client.post(URL, json=body)).status_code == 200
            with admission.admit():
                response = await client.post(URL, json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")


async def test_an_idle_replica_takes_more_judgements_at_once_than_its_queue_has_places(
    open_app: OpenApp, image: str
) -> None:
    async with open_app(max_queue=4) as client:
        response = await client.post(URL, json=rows_of(image, {"How many?": [str(number) for number in range(8)]}))
    assert response.status_code == 200


async def test_a_deadline_holds_for_all_prompts_together(open_app: OpenApp, image: str) -> None:
    async with open_app(FakeEngine(delay_seconds=0.4)) as client:
        body = rows_of(image, {f"{i}?": ["1", "2"] for i in range(6)})
        response = await client.post(URL, json=body, headers={"X-Request-Timeout-Seconds": "0.5"})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_the_file_for_remote_url_returns_tensors(serve: Serve, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("reward_func", Path(openrlhf_reward.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # as OpenRLHF loads it
    body = rows_of(image, {"How many?": ["One.", "Two."]})
    monkeypatch.setenv("GENRM_API_KEY", "secret-of-the-tests")
    with serve(api_keys="trainer:secret-of-the-tests") as live:
        monkeypatch.setenv("GENRM_REWARD_URL", f"{live.url}{URL}?mode=fast")
        found = module.reward_func(body["query"], body["prompts"], body["labels"])
        with pytest.raises(RuntimeError, match=r"422.*No row has another completion"):
            module.reward_func(*(body[name][:1] for name in ("query", "prompts", "labels")))
    assert found["rewards"].shape == found["scores"].shape == (2,)
    assert found["rewards"].sum().item() == pytest.approx(1)
    assert {name: values.tolist() for name, values in found["extra_logs"].items()} == {
        "genrm_abstained": [0, 0],
        "genrm_alone": [0, 0],
    }
    monkeypatch.setenv("GENRM_REWARD_URL", "file:///etc/hosts")
    with pytest.raises(RuntimeError, match="GENRM_REWARD_URL"):
        module.reward_func([], [], [])


def test_the_example_in_the_documentation_is_one() -> None:
    RewardRequest.model_validate_json(json.dumps(EXAMPLE_REWARD_REQUEST), strict=True)
