"""Beginnings of prompts that stay computed: by content, as many as fit, without any effect on answers."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

from genrm.engines.contract import Prompt, Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.engines.kv_cache import Run
from genrm.engines.lora import Adapter
from genrm.engines.prefix_cache import Prefix, PrefixCache, PrefixKey, count_common, prefix_key
from genrm.engines.progress import BatchEvent
from genrm.media import hash_image

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakePicture, MakePrompts

SAMPLING = Sampling(max_tokens=12)


def prefix(length: int, *, value: float = 0.0) -> Prefix:
    return Prefix(tuple(range(length)), Run(torch.full((4, 3, 1, length + 5, 2), value), 1, 5, length))


def key(name: str, *, version: int = 0) -> PrefixKey:
    return version, name, (), ""


def test_the_least_recently_used_beginning_goes_first() -> None:
    cache = PrefixCache(max_tokens=10)
    for name in ("a", "b"):
        cache.keep(key(name), prefix(4))
    assert cache.find(key("a")) is not None
    cache.keep(key("c"), prefix(5))
    assert [cache.find(key(name)) is not None for name in "abc"] == [True, False, True]
    assert cache.num_tokens == 9


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = PrefixCache(max_tokens=3)
    cache.keep(key("a"), prefix(4))
    assert cache.find(key("a")) is None
    assert cache.num_tokens == 0


def test_a_key_kept_twice_counts_once_and_holds_no_more_than_its_own_tokens() -> None:
    cache = PrefixCache(max_tokens=10)
    for value in (1.0, 2.0):
        cache.keep(key("a"), prefix(4, value=value))
    kept = cache.find(key("a"))
    assert kept is not None
    assert cache.num_tokens == 4
    assert kept.run.block.shape == (4, 1, 1, 4, 2)
    assert bool((kept.cut(3).tensor() == 2).all())
    assert kept.cut(3).tensor().shape[2] == 3


def test_the_same_beginning_of_another_adapter_is_another_one_and_goes_when_its_adapter_is_forgotten() -> None:
    cache = PrefixCache(max_tokens=20)
    for version, length in ((0, 3), (1, 4), (2, 5)):
        cache.keep(key("a", version=version), prefix(length))
    found = [cache.find(key("a", version=version)) for version in range(4)]
    assert [each and len(each.ids) for each in found] == [3, 4, 5, None]
    cache.forget({1, 3})
    assert [cache.find(key("a", version=version)) is not None for version in range(3)] == [True, False, True]
    assert cache.num_tokens == 8


def test_adapters_tell_beginnings_apart_by_version_and_not_by_name() -> None:
    prompt = Prompt(system="s", images=(), shared="q", tail="t")
    old, new = (Adapter(name="x", source="x", deltas={}) for _ in range(2))
    assert len({prefix_key(prompt), prefix_key(prompt, old), prefix_key(prompt, new)}) == 3
    assert prefix_key(prompt, old) == prefix_key(prompt, old)


def test_pictures_are_told_apart_by_content_size_and_mode() -> None:
    data = bytes(range(24))
    pictures = [
        Image.frombytes("RGB", (4, 2), data),
        Image.frombytes("RGB", (2, 4), data),
        Image.frombytes("L", (4, 6), data),
        Image.frombytes("RGB", (4, 2), data[:-1] + b"\0"),
    ]
    assert len({hash_image(picture) for picture in pictures}) == 4
    assert hash_image(pictures[0]) == hash_image(pictures[0].copy())
    prompts = [Prompt(system="s", images=(picture.copy(),), shared="q", tail="t") for picture in pictures[:1] * 2]
    assert prefix_key(prompts[0]) == prefix_key(prompts[1])


def test_common_tokens_are_counted_from_the_front() -> None:
    assert [count_common((1, 2, 3), other) for other in ((1, 2), (1, 5, 3), (), (1, 2, 3, 4))] == [2, 1, 0, 3]


class Counting:
    """An engine's pieces of work, summed up."""

    def __init__(self) -> None:
        self.hits = self.misses = self.tokens = 0

    def __call__(self, event: BatchEvent) -> None:
        self.hits += event.num_prefix_hits
        self.misses += event.num_prefix_misses
        self.tokens += event.num_tokens if event.stage == "prefill" else 0


@pytest.mark.parametrize("max_tokens", [0, 8192])
async def test_later_calls_find_images_and_question_computed_and_answer_the_same(
    random_folder: Path, make_prompts: "MakePrompts", make_picture: "MakePicture", *, max_tokens: int
) -> None:
    seen = Counting()
    engine = InProcessEngine(str(random_folder), max_prefix_tokens=max_tokens, on_batch=seen)
    plain = InProcessEngine(str(random_folder), max_prefix_tokens=0)
    await engine.start()
    await plain.start()
    try:
        calls = [
            make_prompts("Which is it?", f"answer {n}", f"other {n}", images=[make_picture(1)]) for n in range(3)
        ] + [make_prompts("Which is it?", "answer 0", "other 0", images=[make_picture(2)])]
        found = [await engine.complete(prompts, SAMPLING) for prompts in calls]
        expected = [await plain.complete(prompts, SAMPLING) for prompts in calls]
    finally:
        await engine.close()
        await plain.close()
    assert [[c.text for c in call] for call in found] == [[c.text for c in call] for call in expected]
    assert (seen.hits, seen.misses) == ((2, 2) if max_tokens else (0, 0))
    saved = [
        sum(c.cached_tokens for c in call) - sum(c.cached_tokens for c in other)
        for call, other in zip(found, expected, strict=True)
    ]
    assert [number > 0 for number in saved] == ([False, True, True, False] if max_tokens else [False] * 4)
    assert seen.tokens == sum(c.prompt_tokens - c.cached_tokens for call in found for c in call)


async def test_calls_that_start_together_compute_what_they_share_once(
    random_folder: Path, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    import asyncio

    seen = Counting()
    engine = InProcessEngine(str(random_folder), on_batch=seen)
    await engine.start()
    try:
        await asyncio.gather(
            *(
                engine.complete(make_prompts("Which?", f"a{n}", f"b{n}", images=[make_picture(1)]), SAMPLING)
                for n in range(6)
            )
        )
    finally:
        await engine.close()
    assert (seen.hits, seen.misses) == (5, 1)
