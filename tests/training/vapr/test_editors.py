"""Who edits: rules, a model in this process, an endpoint with structured output, and naive pipelines."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from genrm.engines.contract import Engine
from genrm.engines.in_process import InProcessEngine
from genrm.engines.openai_server import OpenAIEngine
from genrm.errors import ModelLoadError
from genrm.shipped import base_folder
from training.jobs.config import ConfigError, Section, read_config
from training.vapr import editors
from training.vapr.editors import EditorChoice, EditRequest, MissingKeyError, open_endpoint
from training.vapr.model_editor import ModelEditor
from training.vapr.naive_editor import NaiveEditor
from training.vapr.rule_editor import RulesEditor

CORPUS = [
    ("What is there?", "There is a dog and a cat."),
    ("What is there?", "There is an umbrella."),
    ("How many dogs?", "There are three dogs."),
    ("Read the sign.", "The sign says exit."),
    ("Read the sign.", "The text on the sign is 15."),
    ("Read the sign.", "The text on the sign is 21."),
    ("Read the sign.", "It says stop."),
]
IMAGES = (Image.new("RGB", (224, 224), "white"),)


def request(question: str, reference: str, kind: str, *, seed: int = 1) -> EditRequest:
    return EditRequest(question=question, reference=reference, kind=kind, images=IMAGES, seed=seed)


async def edit_by_rules(question: str, reference: str, kind: str) -> set[str]:
    [proposal] = await RulesEditor(CORPUS).edit([request(question, reference, kind)])
    return set(proposal.texts)


@pytest.mark.parametrize(
    ("question", "reference", "kind", "allowed"),
    [
        ("How many dogs?", "There is one dog.", "count", {"There are two dogs.", "There are no dogs."}),
        ("How many dogs?", "There are no dogs.", "count", {"There is one dog."}),
        ("Is there a dog or a zebra?", "There is a dog.", "object", {"There is a zebra."}),
        ("Left or right?", "It is to the left of the cat.", "relation", {"It is to the right of the cat."}),
        ("Is it there?", "Yes.", "existence", {"No."}),
        ("Is there a dog?", "No, there is no dog.", "existence", {"Yes, there is a dog."}),
        ("Read the sign.", "The sign says exit.", "text", {"The sign says stop."}),
        ("Read the sign.", "The text on the sign is 15.", "text", {"The text on the sign is 21."}),
        ("?", "There are two dogs and one cat.", "swap", {"There is one dog and two cats."}),
        ("?", "I see a dog, a cat and a bus.", "addition", {"I see a dog, an umbrella, a cat and a bus.",
                                                            "I see a dog, a cat, an umbrella and a bus."}),
        ("?", "There are more dogs than cats.", "reasoning", {"There are more cats than dogs.",
                                                              "There are as many dogs as cats."}),
        ("?", "It is the same place.", "reasoning", {"It is the different place."}),
    ],
)  # fmt: skip
async def test_rules_make_each_kind_of_error(question: str, reference: str, kind: str, allowed: set[str]) -> None:
    made = await edit_by_rules(question, reference, kind)
    assert made
    assert made <= allowed


async def test_rules_that_do_not_apply_say_so() -> None:
    [proposal] = await RulesEditor(CORPUS).edit([request("?", "Fine.", "count")])
    assert (proposal.texts, proposal.fates) == ((), ("no candidate",))


async def test_the_same_requests_give_the_same_proposals_and_another_seed_others() -> None:
    rules = RulesEditor([*CORPUS, *(("?", f"There is a {name}.") for name in ("bus", "car", "bed", "cup", "tie"))])
    asked = request("?", "There is a dog.", "object")
    assert await rules.edit([asked]) == await rules.edit([asked])
    others = [await rules.edit([request("?", "There is a dog.", "object", seed=seed)]) for seed in range(5)]
    assert len({other[0].texts for other in others}) > 1


async def test_naive_negatives_are_what_pipelines_without_checks_make() -> None:
    naive = NaiveEditor([reference for _, reference in CORPUS], ["a dog", "a bus"])
    reference = "There is a dog and a cat."
    kinds = naive.list_kinds("?", reference, most_added_words=0)
    assert set(kinds) == {"borrowed", "truncated", "added sentence"}
    made = {kind: (await naive.edit([request("?", reference, kind)]))[0].texts[0] for kind in kinds}
    assert made["borrowed"] in {r for _, r in CORPUS} - {reference}
    assert reference.startswith(made["truncated"])
    assert made["added sentence"].startswith(f"{reference} ")
    assert "a bus" in made["added sentence"].lower()
    assert "truncated" not in naive.list_kinds("?", "A dog.", most_added_words=0)


async def test_the_shipped_base_edits_when_it_is_asked_as_it_was_taught() -> None:
    engine = InProcessEngine(str(base_folder()))
    await engine.start()
    try:
        editor = ModelEditor(engine, EditorChoice(kind="model", prompt="plain", temperature=0, max_tokens=40))
        [proposal] = await editor.edit([request("How many dogs are there?", "There are two dogs.", "count")])
    finally:
        await engine.close()
    assert proposal.texts[0].startswith("There ")
    assert proposal.texts[0] != "There are two dogs."
    assert "dog" in proposal.texts[0]


Replies = Callable[[dict[str, Any]], str | None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Replies], list[dict[str, Any]]]:
    """A server in memory that replies as it is told, None for a refusal of the request; gives what it was sent."""

    def start(reply: Replies) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        def answer(http: httpx.Request) -> httpx.Response:
            body = json.loads(http.content)
            sent.append(body | {"key": http.headers.get("authorization")})
            text = reply(body)
            if text is None:
                return httpx.Response(400, json={"error": {"message": "unknown field"}})
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            return httpx.Response(200, json={"choices": [choice]})

        def build(url: str, model: str | None, **options: Any) -> Engine:
            return OpenAIEngine(url, model, transport=httpx.MockTransport(answer), **options)

        monkeypatch.setattr("genrm.engines.openai_server.OpenAIEngine", build)
        return sent

    return start


ENDPOINT = EditorChoice.model_validate(
    {"kind": "endpoint", "engine": {"url": "http://model.test/v1", "model": "org/editor"}, "candidates": 4}
)


async def test_an_endpoint_is_asked_for_json_of_a_schema_and_its_replies_are_told_apart(
    serve: Callable[[Replies], list[dict[str, Any]]],
) -> None:
    replies = iter(
        ['{"edited": "A cat."}', 'Here: {"edited": "A cat."} Done.', "I'm sorry, I can't.", "A cat, I would say."]
    )
    sent = serve(lambda body: "x" if body["max_tokens"] == 1 else next(replies))
    editor = ModelEditor(None, ENDPOINT)
    await editor.start()
    try:
        [proposal] = await editor.edit([request("What?", "A dog.", "object")])
    finally:
        await editor.close()
    assert editor.name == "org/editor"
    assert proposal.texts == ("A cat.",)
    assert sorted(proposal.fates) == ["editor refused", "no edit in the reply"]
    assert sent[-1]["response_format"]["json_schema"]["schema"]["required"] == ["edited"]


async def test_an_endpoint_that_takes_no_schema_is_asked_for_json_in_words(
    serve: Callable[[Replies], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    sent = serve(lambda body: None if "response_format" in body else '{"edited": "A cat."}')
    editor = ModelEditor(None, ENDPOINT)
    await editor.start()
    try:
        [proposal] = await editor.edit([request("What?", "A dog.", "object")])
    finally:
        await editor.close()
    assert proposal.texts == ("A cat.",)
    assert "response_format" not in sent[-1]
    assert "takes no JSON schema" in caplog.text


async def test_an_endpoint_that_is_not_there_is_named() -> None:
    editor = ModelEditor(None, ENDPOINT.model_copy(update={"engine": ENDPOINT.engine.model_copy(
        update={"url": "http://127.0.0.1:9/v1"})}))  # fmt: skip
    with pytest.raises(ModelLoadError, match=r"127\.0\.0\.1:9"):
        await editor.start()


async def test_the_key_of_an_endpoint_comes_from_the_environment(
    serve: Callable[[Replies], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = serve(lambda _: '{"edited": "A cat."}')
    choice = ENDPOINT.model_copy(update={"api_key_variable": "EDITOR_KEY"})
    with pytest.raises(MissingKeyError, match="EDITOR_KEY, which is not set"):
        open_endpoint(choice, None)
    monkeypatch.setenv("EDITOR_KEY", "sk-secret")
    engine, _ = await editors.start_endpoint(choice, {})
    await engine.close()
    assert {each["key"] for each in sent} == {"Bearer sk-secret"}


class _Config(Section):
    editor: EditorChoice = EditorChoice()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("editor={kind: endpoint}", "needs editor.engine.url"),
        ("editor={kind: endpoint, prompt: plain, engine: {url: http://x}}", "is asked for JSON"),
        ("editor={kind: magic}", "'rules', 'model', 'endpoint' or 'naive'"),
    ],
)
def test_an_editor_that_cannot_work_is_refused_before_anything_starts(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(_Config, None, [setting])
