"""An adapter is read whole or refused in words, and reading it touches nothing that the running model shares."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import IA3Config
from safetensors.torch import load_file, save_file

from genrm.engines.contract import Prompt, Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.errors import EngineClosedError, ModelLoadError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakeAdapter, MakePicture, MakePrompts

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@pytest.fixture
def prompts(make_prompts: "MakePrompts", make_picture: "MakePicture") -> list[Prompt]:
    """Two orders of one comparison."""
    return make_prompts("What is it?", "a dog", "a cat, or two", images=[make_picture(1)], answer_prefix="Verdict:")


async def read_logprobs(engine: InProcessEngine, prompts: list[Prompt]) -> list[Any]:
    return [each.label_logprobs for each in await engine.complete(prompts, Sampling())]


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
        (lambda folder: (folder / "base_model.json").write_text('{"weights": "0"}'), "have another fingerprint"),
        (lambda folder: (folder / "base_model.json").write_text("{"), r"base_model\.json cannot be read"),
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
    make_adapter: "MakeAdapter",
    prompts: list[Prompt],
) -> None:
    before = await read_logprobs(random_engine, prompts)
    folder = make_adapter()
    damage(folder)
    with pytest.raises(ModelLoadError, match=complaint):
        await random_engine.load_adapter(str(folder), name="candidate")
    for one, two in zip(await read_logprobs(random_engine, prompts), before, strict=True):
        assert one == pytest.approx(two, abs=2e-4)


async def test_an_adapter_of_another_kind_is_refused_in_words(
    random_engine: InProcessEngine, make_adapter: "MakeAdapter"
) -> None:
    folder = make_adapter(config=IA3Config(target_modules=["q_proj"], feedforward_modules=[]))
    with pytest.raises(ModelLoadError, match=r"IA3.*GENRM_ADAPTER"):
        await random_engine.load_adapter(str(folder), name="candidate")


async def test_an_embedding_that_an_adapter_changes_is_refused(
    random_engine: InProcessEngine, make_adapter: "MakeAdapter"
) -> None:
    folder = make_adapter(target_modules=["embed_tokens"])
    with pytest.raises(ModelLoadError, match=r"embed_tokens by more than"):
        await random_engine.load_adapter(str(folder), name="candidate")


async def test_loading_changes_nothing_that_is_global_while_the_model_runs(
    random_engine: InProcessEngine, make_adapter: "MakeAdapter", monkeypatch: pytest.MonkeyPatch
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


async def test_an_engine_that_is_not_running_loads_no_adapter(random_folder: Path, make_adapter: "MakeAdapter") -> None:
    engine = InProcessEngine(str(random_folder), device="cpu")
    with pytest.raises(EngineClosedError, match="start"):
        await engine.load_adapter(str(make_adapter()), name="candidate")
