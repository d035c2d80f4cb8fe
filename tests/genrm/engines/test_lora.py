"""Adapters on a running engine: what they change, what they leave alone, and that no version is taken for another."""

import asyncio
import gc
import json
import math
import shutil
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from genrm.engines.adapted import AdaptedEngine
from genrm.engines.contract import AdaptableEngine, Completion, Engine, Prompt, Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.errors import EngineClosedError, ModelLoadError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakePicture, MakePrompts

MakeAdapter = Callable[..., Path]
LANGUAGE = r".*language_model.*\.(q_proj|v_proj|o_proj|gate_proj|down_proj)"
EVERYWHERE = "all-linear"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@pytest.fixture
def make_adapter(random_folder: Path, tmp_path: Path) -> MakeAdapter:
    """Saves an adapter with random weights that are far from nothing."""

    def make(
        name: str = "adapter", *, base: Path = random_folder, seed: int = 1, config: Any = None, **options: Any
    ) -> Path:
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_pretrained(base)
        lora: dict[str, Any] = {"r": 4, "target_modules": LANGUAGE, "init_lora_weights": False, **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT lags behind transformers
            adapted: Any = get_peft_model(model, config or LoraConfig(**lora))
            for parameter_name, parameter in adapted.named_parameters():
                if "lora_" in parameter_name:
                    torch.nn.init.normal_(parameter, std=0.15)
            adapted.save_pretrained(str(tmp_path / name))
        return tmp_path / name

    return make


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
    make_adapter: MakeAdapter,
    prompts: list[Prompt],
) -> None:
    folder = make_adapter(**options)
    adapted = await random_engine.load_adapter(str(folder), name="candidate")
    assert (adapted.model, adapted.weights, adapted.has_logprobs) == ("candidate", str(folder), True)
    expected = Outcome(await complete_merged(random_folder, folder, prompts))
    assert Outcome(await complete(adapted, prompts)) == expected
    assert Outcome(await complete(random_engine, prompts)) != expected


async def test_an_adapter_reads_as_the_merged_model_does_on_the_newer_architecture(
    random_25_engine: InProcessEngine, random_25_folder: Path, make_adapter: MakeAdapter, prompts: list[Prompt]
) -> None:
    folder = make_adapter(base=random_25_folder, target_modules=EVERYWHERE)
    adapted = await random_25_engine.load_adapter(str(folder), name="candidate")
    expected = Outcome(await complete_merged(random_25_folder, folder, prompts))
    assert Outcome(await complete(adapted, prompts)) == expected
    assert Outcome(await complete(random_25_engine, prompts)) != expected


async def test_an_adapter_is_put_on_the_model_as_it_is_served_with_the_one_that_it_was_started_with(
    random_folder: Path, make_adapter: MakeAdapter, prompts: list[Prompt], tmp_path: Path
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
    random_engine: InProcessEngine, make_adapter: MakeAdapter, prompts: list[Prompt]
) -> None:
    one = await random_engine.load_adapter(str(make_adapter("one", seed=1)), name="one")
    two = await random_engine.load_adapter(str(make_adapter("two", seed=2, target_modules=EVERYWHERE)), name="two")
    engines: list[Engine] = [random_engine, one, two]
    alone = [Outcome(await complete(engine, prompts)) for engine in engines]
    assert alone[0] != alone[1] != alone[2] != alone[0]
    together = await asyncio.gather(*(complete(engine, prompts) for _ in range(4) for engine in engines))
    assert [Outcome(found) for found in together] == alone * 4


async def test_the_model_computes_bit_for_bit_what_it_did_before_adapters_came(
    random_folder: Path, make_adapter: MakeAdapter, prompts: list[Prompt]
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
    random_folder: Path, make_adapter: MakeAdapter, make_prompts: "MakePrompts", make_picture: "MakePicture"
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
    random_folder: Path, make_adapter: MakeAdapter, prompts: list[Prompt]
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
    random_engine: InProcessEngine, make_adapter: MakeAdapter, prompts: list[Prompt]
) -> None:
    folder = make_adapter()
    adapted = await random_engine.load_adapter(str(folder), name="candidate")
    before = Outcome(await complete(adapted, prompts))
    size = (folder / WEIGHTS).stat().st_size
    with (folder / WEIGHTS).open("r+b") as file:  # in place, as `cp` does
        file.write(b"\xff" * size)
    assert Outcome(await complete(adapted, prompts)) == before


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def spoil(value: float) -> Callable[[Path], None]:
    """One value of the last matrix."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[max(tensors)][0, 0] = value

    return lambda folder: edit_weights(folder, change)


def widen(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if "lora_A" in name:
            tensors[name] = torch.cat([tensor, tensor], dim=1)


def truncate(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def to_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "adapter_model.bin")
    (folder / WEIGHTS).unlink()


def swell(folder: Path) -> None:
    """Finite numbers whose product is not."""
    edit_weights(folder, lambda tensors: [tensor.fill_(1e25) for tensor in tensors.values()])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder: (folder / CONFIG).unlink(), r"adapter_config\.json is missing"),
        (lambda folder: (folder / CONFIG).write_text("[1]"), "does not hold a JSON object"),
        (lambda folder: (folder / WEIGHTS).unlink(), r"adapter_model\.safetensors is missing"),
        (to_pickle, r"adapter_model\.safetensors is missing"),
        (truncate, "truncated or damaged"),
        (lambda folder: edit_weights(folder, widen), "other shapes than"),
        (lambda folder: edit_config(folder, r=8), "other shapes than"),
        (lambda folder: edit_config(folder, target_modules=["no_such_layer"]), "target_modules of which"),
        (lambda folder: edit_config(folder, target_modules=["q_proj"]), "belong to no layer"),
        (lambda folder: edit_config(folder, target_modules=["q_proj", "k_proj"]), "belong to no layer|lacks the matr"),
        (lambda folder: edit_weights(folder, lambda tensors: tensors.pop(max(tensors))), "lacks the matrices"),
        (lambda folder: edit_config(folder, r=0), "rank 0; a rank is a whole number of at least 1"),
        (lambda folder: edit_config(folder, r="4"), "rank '4'"),
        (lambda folder: edit_config(folder, peft_type="IA3"), "peft_type 'IA3'; adapters of requests are LORA"),
        (lambda folder: edit_config(folder, peft_type=None), "peft_type None"),
        (lambda folder: edit_config(folder, use_dora=True), "use_dora"),
        (lambda folder: edit_config(folder, bias="all"), "bias"),
        (lambda folder: edit_config(folder, modules_to_save=["lm_head"]), "modules_to_save"),
        (lambda folder: edit_config(folder, init_lora_weights="pissa"), "init_lora_weights 'pissa'"),
        (lambda folder: edit_config(folder, base_model_name_or_path="some/other"), "was trained on some/other"),
        (lambda folder: edit_config(folder, base_model_name_or_path=7), "cannot be loaded"),
        (lambda folder: edit_config(folder, rank_pattern=[7]), "cannot be loaded"),
        (spoil(math.nan), "no finite numbers"),
        (spoil(math.inf), "no finite numbers"),
        (swell, "overflow"),
    ],
)
async def test_an_adapter_that_is_not_whole_or_does_not_fit_is_refused_and_nothing_changes(
    damage: Callable[[Path], object],
    complaint: str,
    random_engine: InProcessEngine,
    make_adapter: MakeAdapter,
    prompts: list[Prompt],
) -> None:
    before = Outcome(await complete(random_engine, prompts))
    folder = make_adapter()
    damage(folder)
    with pytest.raises(ModelLoadError, match=complaint):
        await random_engine.load_adapter(str(folder), name="candidate")
    assert Outcome(await complete(random_engine, prompts)) == before


async def test_an_adapter_of_another_kind_is_refused_in_words(
    random_engine: InProcessEngine, make_adapter: MakeAdapter
) -> None:
    folder = make_adapter(config=IA3Config(target_modules=["q_proj"], feedforward_modules=[]))
    with pytest.raises(ModelLoadError, match=r"IA3.*GENRM_ADAPTER"):
        await random_engine.load_adapter(str(folder), name="candidate")


async def test_an_embedding_that_an_adapter_changes_is_refused(
    random_engine: InProcessEngine, make_adapter: MakeAdapter
) -> None:
    folder = make_adapter(target_modules=["embed_tokens"])
    with pytest.raises(ModelLoadError, match=r"embed_tokens by more than"):
        await random_engine.load_adapter(str(folder), name="candidate")


async def test_loading_changes_nothing_that_is_global_while_the_model_runs(
    random_engine: InProcessEngine, make_adapter: MakeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default number format and modules' constructors belong to all threads, the worker's among them."""
    folder = make_adapter()

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch, "set_default_dtype", refuse)
    monkeypatch.setattr("peft.utils.integrations._init_on_device", refuse)
    skeleton = random_engine._skeleton
    assert skeleton is not None
    before = [name for name, _ in skeleton.named_modules()]
    await random_engine.load_adapter(str(folder), name="candidate")
    assert [name for name, _ in skeleton.named_modules()] == before
    assert all(parameter.is_meta for parameter in skeleton.parameters())


async def test_an_engine_that_is_not_running_loads_no_adapter(random_folder: Path, make_adapter: MakeAdapter) -> None:
    engine = InProcessEngine(str(random_folder), device="cpu")
    with pytest.raises(EngineClosedError, match="start"):
        await engine.load_adapter(str(make_adapter()), name="candidate")


async def test_adapters_come_and_go_while_rows_run(
    random_engine: InProcessEngine, make_adapter: MakeAdapter, prompts: list[Prompt]
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


def test_peft_agrees_on_what_is_saved(make_adapter: MakeAdapter, random_folder: Path) -> None:
    """The adapters of these tests are ones that PEFT itself takes."""
    model = AutoModelForImageTextToText.from_pretrained(random_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        PeftModel.from_pretrained(model, make_adapter())
