"""First answers, normal and contrastive, and which are dropped for their form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.ipa.items import Item
from training.ipa.sampling import sample
from training.ipa.settings import IpaConfig

MakeItem = Callable[..., Item]


def settings(**values: Any) -> IpaConfig:
    return IpaConfig(output=Path("unused"), source="unused", **values)


async def test_half_of_the_answers_are_to_perturbed_pictures(make_item: MakeItem, engine_that: Any) -> None:
    item = make_item("a")
    images = item.load_images()
    engine = engine_that(lambda prompt, _: "seen" if prompt.images == images else "guessed")
    config = settings(sampled={"per_item": 3}, perturbations={"kinds": ["noise"]})
    found = await sample(engine, [(item, images)], (), 5, config=config, is_guided=False)
    assert [answer["text"] for answer in found["a"]] == ["seen"] * 3 + ["guessed"] * 3
    assert [answer["perturbation"] is None for answer in found["a"]] == [True] * 3 + [False] * 3
    assert len({answer["perturbation"] for answer in found["a"][3:]}) > 1
    assert engine.samplings[0].seed == 5
    assert len(engine.calls) == 1


async def test_without_contrastive_samples_every_picture_is_as_it_is(make_item: MakeItem, engine_that: Any) -> None:
    item = make_item("a")
    engine = engine_that(lambda *_: "A dog.")
    config = settings(contrastive=False, sampled={"per_item": 2})
    found = await sample(engine, [(item, item.load_images())], (), 0, config=config, is_guided=False)
    assert [answer["perturbation"] for answer in found["a"]] == [None, None]


async def test_the_reference_is_in_view_in_guided_sampling_alone(make_item: MakeItem, engine_that: Any) -> None:
    item = make_item("a", reference="an aardvark")
    engine = engine_that(lambda *_: "A dog.")
    for is_guided in (False, True):
        await sample(engine, [(item, item.load_images())], (), 0, config=settings(), is_guided=is_guided)
    assert ["aardvark" in call[0].shared + call[0].tail for call in engine.calls] == [False, True]


@pytest.mark.parametrize(
    ("text", "finish_reason", "fate"),
    [("one two three", "stop", "kept"), ("one two three four", "stop", "too long"), (" ", "stop", "empty"),
     ("one two", "length", "cut off")],
)  # fmt: skip
async def test_an_answer_that_is_too_long_or_cut_off_or_says_nothing_is_dropped(
    text: str, finish_reason: str, fate: str, make_item: MakeItem, engine_that: Any
) -> None:
    item = make_item("a")
    engine = engine_that(lambda *_: text, finish_reason=finish_reason)
    found = await sample(engine, [(item, item.load_images())], (), 0, config=settings(max_words=3), is_guided=False)
    assert {answer["fate"] for answer in found["a"]} == {fate}


async def test_the_same_seed_draws_the_same_perturbations(make_item: MakeItem, engine_that: Any) -> None:
    shard = [(item, item.load_images()) for item in (make_item("a"), make_item("b"))]

    async def draw(seed: int) -> list[str]:
        found = await sample(engine_that(lambda *_: "x"), shard, (), seed, config=settings(), is_guided=False)
        return [answer["perturbation"] for answers in found.values() for answer in answers]

    assert await draw(1) == await draw(1) != await draw(2)
