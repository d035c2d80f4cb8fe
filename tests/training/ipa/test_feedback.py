"""The reviser: feedback on each different answer, a revision after each feedback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.ipa.feedback import revise
from training.ipa.items import Item
from training.ipa.settings import IpaConfig

MakeItem = Callable[..., Item]


def settings(**values: Any) -> IpaConfig:
    return IpaConfig(output=Path("unused"), source="unused", **values)


def answer(text: str, fate: str = "kept") -> dict[str, Any]:
    return {"text": text, "fate": fate, "perturbation": None}


async def test_each_different_answer_is_criticised_several_times_and_revised_each_time(
    make_item: MakeItem, engine_that: Any
) -> None:
    item = make_item("a")
    engine = engine_that(lambda prompt, n: f"feedback {n}" if prompt.tail.endswith("Criticise the response.") else "B")
    told = ({"a": [answer("A cat."), answer("a cat"), answer("x", "too long")]}, {"a": [answer("a dog")]})
    found = await revise(engine, [(item, item.load_images())], told, 3, config=settings(), is_guided=False)
    assert [(entry["of"], entry["feedback"]) for entry in found["a"]] == [
        ("A cat.", "feedback 0"), ("A cat.", "feedback 1"), ("a dog", "feedback 2"), ("a dog", "feedback 3"),
    ]  # fmt: skip
    assert {entry["text"] for entry in found["a"]} == {"B"}
    assert "Feedback: feedback 2\n" in engine.calls[1][2].tail


async def test_guided_feedback_sees_the_reference_and_the_revision_does_not(
    make_item: MakeItem, engine_that: Any
) -> None:
    item = make_item("a", reference="an aardvark")
    engine = engine_that(lambda *_: "words")
    told = ({"a": [answer("A cat.")]},)
    await revise(engine, [(item, item.load_images())], told, 0, config=settings(), is_guided=True)
    feedback, revision = (call[0].shared + call[0].tail for call in engine.calls)
    assert "aardvark" in feedback
    assert "aardvark" not in revision


async def test_feedback_that_says_nothing_or_is_cut_off_is_followed_by_no_revision(
    make_item: MakeItem, engine_that: Any
) -> None:
    item = make_item("a")
    shard = [(item, item.load_images())]
    for engine in (engine_that(lambda *_: " "), engine_that(lambda *_: "It is", finish_reason="length")):
        found = await revise(engine, shard, ({"a": [answer("A")]},), 0, config=settings(), is_guided=False)
        assert found == {"a": []}


async def test_without_feedback_the_reviser_is_asked_nothing(make_item: MakeItem, engine_that: Any) -> None:
    item, engine = make_item("a"), engine_that(lambda *_: "x")
    config = settings(revision={"feedbacks_per_response": 0}, rounds=2)
    told = ({"a": [answer("A")]},)
    assert await revise(engine, [(item, item.load_images())], told, 0, config=config, is_guided=False) == {"a": []}
    assert engine.calls == []
