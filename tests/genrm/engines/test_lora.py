"""Adapters on a running engine: what they change, what they leave alone, and that no version is taken for another."""

import asyncio
import gc
import shutil
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from genrm.engines.adapted import AdaptedEngine
from genrm.engines.contract import AdaptableEngine, Completion, Engine, Prompt, Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.errors import EngineClosedError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakeAdapter, MakePicture, MakePrompts

EVERYWHERE = "all-linear"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def prompts(make_prompts: "MakePrompts", make_picture: "MakePicture") -> list[Prompt]:
    """Two orders with an image, two without, and two that want a label only."""
    return [
        *make_prompts("What is it?", "a dog", "a cat, or two", images=[make_picture(1)]),
        *make_prompts("No image?", "none", "not one"),
        *make_prompts("Which?", "this", "that", images=[make_picture(2, 112, 56)], answer_prefix="Verdict:"),
    ]


class Outcome(list[Completion]):
    """Completions, equal to others with the same texts and, up to what company in a batch rounds, probabilities."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Outcome)
        return all(
            one.text == two.text
            and one.label_logprobs == (two.label_logprobs and pytest.approx(two.label_logprobs, abs=2e-4))
            for one, two in zip(self, other, strict=True)
        )

    def __ne__(self, other: object) -> bool:
        return not self == other


async def complete(engine: Engine, prompts: Sequence[Prompt]) -> list[Completion]:
    return await engine.complete(prompts, Sampling(max_tokens=12))


async def complete_merged(base: Path, adapter: Path, prompts: Sequence[Prompt]) -> list[Completion]:
    """What the model with the adapter merged into its weights writes: the path of `GENRM_ADAPTER`."""
    engine = InProcessEngine(str(base), adapter=str(adapter), device="cpu")
    await engine.start()
    try:
        return await complete(engine, prompts)
    finally:
        await engine.close()


def test_the_engine_and_its_adapters_keep_their_contracts(random_engine: InProcessEngine) -> None:
    assert isinstance(random_engine, AdaptableEngine)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_modules": EVERYWHERE},
        {"use_rslora": True, "lora_alpha": 3},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 16}},
    ],
    ids=["language model", "all linear layers, the vision tower's too", "rank-stabilised", "patterns"],
)
async def test_an_adapter_reads_as_the_merged_model_does(
    options: dict[str, Any],
    random_engine: InProcessEngine,
    random_folder: Path,
    make_adapter: "MakeAdapter",
    prompts: list[Prompt],
) -> None:
    folder = make_adapter(**options)
    adapted = await random_engine.load_adapter(str(folder), name="candidate")
    assert (adapted.model, adapted.weights, adapted.has_logprobs) == ("candidate", str(folder), True)
    expected = Outcome(await complete_merged(random_folder, folder, prompts))
    assert Outcome(await complete(adapted, prompts)) == expected
    assert Outcome(await complete(random_engine, prompts)) != expected


async def test_an_adapter_reads_as_the_merged_model_does_on_the_newer_architecture(
    random_25_engine: InProcessEngine, random_25_folder: Path, make_adapter: "MakeAdapter", prompts: list[Prompt]
) -> None:
    folder = make_adapter(base=random_25_folder, target_modules=EVERYWHERE)
    adapted = await random_25_engine.load_adapter(str(folder), name="candidate")
    expected = Outcome(await complete_merged(random_25_folder, folder, prompts))
    assert Outcome(await complete(adapted, prompts)) == expected
    assert Outcome(await complete(random_25_engine, prompts)) != expected


async def test_an_adapter_is_put_on_the_model_as_it_is_served_with_the_one_that_it_was_started_with(
    random_folder: Path, make_adapter: "MakeAdapter", prompts: list[Prompt], tmp_path: Path
) -> None:
    first, second = make_adapter("first", seed=1), make_adapter("second", seed=2)
    model = AutoModelForImageTextToText.from_pretrained(random_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT lags behind transformers
        merged: Any = PeftModel.from_pretrained(model, first).merge_and_unload()
    shutil.copytree(random_folder, tmp_path / "merged" / random_folder.name)
    merged.save_pretrained(tmp_path / "merged" / random_folder.name)
    expected = Outcome(await complete_merged(tmp_path / "merged" / random_folder.name, second, prompts))
    engine = InProcessEngine(str(random_folder), adapter=str(first), device="cpu")
    await engine.start()
    adapted = await engine.load_adapter(str(second), name="candidate")
    assert Outcome(await complete(adapted, prompts)) == expected
    await engine.close()


async def test_rows_of_several_adapters_and_of_the_model_share_batches_and_stay_themselves(
    random_engine: InProcessEngine, make_adapter: "MakeAdapter", prompts: list[Prompt]
) -> None:
    one = await random_engine.load_adapter(str(make_adapter("one", seed=1)), name="one")
    two = await random_engine.load_adapter(str(make_adapter("two", seed=2, target_modules=EVERYWHERE)), name="two")
    engines: list[Engine] = [random_engine, one, two]
    alone = [Outcome(await complete(engine, prompts)) for engine in engines]
    assert alone[0] != alone[1] != alone[2] != alone[0]
    together = await asyncio.gather(*(complete(engine, prompts) for _ in range(4) for engine in engines))
    assert [Outcome(found) for found in together] == alone * 4


async def test_the_model_computes_bit_for_bit_what_it_did_before_adapters_came(
    random_folder: Path, make_adapter: "MakeAdapter", prompts: list[Prompt]
) -> None:
    engine = InProcessEngine(str(random_folder), device="cpu", max_prefix_tokens=0)
    await engine.start()
    before = [(each.text, each.label_logprobs) for each in await complete(engine, prompts)]
    adapted = await engine.load_adapter(str(make_adapter(target_modules=EVERYWHERE)), name="candidate")
    await complete(adapted, prompts)
    assert [(each.text, each.label_logprobs) for each in await complete(engine, prompts)] == before
    await engine.close()
    with pytest.raises(EngineClosedError):
        await complete(adapted, prompts)


async def test_what_one_version_computed_is_never_taken_for_another_s(
    random_folder: Path, make_adapter: "MakeAdapter", make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    """The same prompts again and again, so that every beginning is kept; each version finds its own and no other."""
    engine = InProcessEngine(str(random_folder), device="cpu")
    await engine.start()
    prompts = make_prompts("What is it?", "a dog", "a cat", images=[make_picture(1)], answer_prefix="Verdict:")
    folder = make_adapter(seed=1)
    old = await engine.load_adapter(str(folder), name="candidate")
    expected_old = Outcome(await complete_merged(random_folder, folder, prompts))
    shutil.rmtree(folder)
    make_adapter(seed=2)
    new = await engine.load_adapter(str(folder), name="candidate")
    expected_new = Outcome(await complete_merged(random_folder, folder, prompts))
    expected_model = Outcome(await complete(engine, prompts))
    assert expected_old != expected_new != expected_model != expected_old
    for _ in range(2):
        for served, expected in ((old, expected_old), (new, expected_new), (engine, expected_model)):
            assert Outcome(await complete(served, prompts)) == expected
    [first, _] = await complete(new, prompts)
    assert first.cached_tokens > first.prompt_tokens / 2  # so the cache was in use
    await engine.close()


async def test_an_adapter_is_freed_with_its_last_reading_and_what_it_computed_with_the_next_one(
    random_folder: Path, make_adapter: "MakeAdapter", prompts: list[Prompt]
) -> None:
    engine = InProcessEngine(str(random_folder), device="cpu")
    await engine.start()
    adapted = await engine.load_adapter(str(make_adapter()), name="candidate")
    alive = weakref.ref(adapted._adapter)
    reading = asyncio.create_task(complete(adapted, prompts))
    await asyncio.sleep(0)
    del adapted
    assert len(await reading) == len(prompts)
    del reading
    gc.disable()  # it must not take a collection
    try:
        for _ in range(1000):  # the worker may be about to forget its last step
            if alive() is not None:
                await asyncio.sleep(0.01)
        assert alive() is None
    finally:
        gc.enable()
    assert engine._worker is not None
    prefill = engine._worker._prefill
    assert any(key[0] > 0 for key in prefill._heads)
    await complete(engine, prompts)
    assert {key[0] for key in prefill._heads} | {key[0] for key in prefill._prefixes._kept} == {0}
    assert prefill._prefixes.num_tokens == sum(len(kept.ids) for kept in prefill._prefixes._kept.values())
    await engine.close()


async def test_an_adapter_that_is_loaded_does_not_need_its_files_any_more(
    random_engine: InProcessEngine, make_adapter: "MakeAdapter", prompts: list[Prompt]
) -> None:
    folder = make_adapter()
    adapted = await random_engine.load_adapter(str(folder), name="candidate")
    before = Outcome(await complete(adapted, prompts))
    size = (folder / WEIGHTS).stat().st_size
    with (folder / WEIGHTS).open("r+b") as file:  # in place, as `cp` does
        file.write(b"\xff" * size)
    assert Outcome(await complete(adapted, prompts)) == before


async def test_adapters_come_and_go_while_rows_run(
    random_engine: InProcessEngine, make_adapter: "MakeAdapter", prompts: list[Prompt]
) -> None:
    folders = [make_adapter("one", seed=1), make_adapter("two", seed=2)]
    expected = [
        Outcome(await complete(await random_engine.load_adapter(str(folder), name="x"), prompts)) for folder in folders
    ]
    expected_model = Outcome(await complete(random_engine, prompts))
    running: list[asyncio.Task[tuple[int, list[Completion], list[Completion]]]] = []

    async def ask(number: int, adapted: AdaptedEngine) -> tuple[int, list[Completion], list[Completion]]:
        return number, await complete(adapted, prompts), await complete(random_engine, prompts)

    for swap in range(8):
        adapted = await random_engine.load_adapter(str(folders[swap % 2]), name="x")
        running += [asyncio.create_task(ask(swap % 2, adapted)) for _ in range(2)]
        del adapted
    for number, found, found_model in await asyncio.gather(*running):
        assert Outcome(found) == expected[number]
        assert Outcome(found_model) == expected_model


def test_peft_agrees_on_what_is_saved(make_adapter: "MakeAdapter", random_folder: Path) -> None:
    """The adapters of these tests are ones that PEFT itself takes."""
    model = AutoModelForImageTextToText.from_pretrained(random_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        PeftModel.from_pretrained(model, make_adapter())
