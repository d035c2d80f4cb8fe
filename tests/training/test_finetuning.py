"""Fine-tuning the shipped base on a few samples: it learns, resumes, and leaves what can be served."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from PIL import Image
from pydantic import ValidationError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from genrm.engines.in_process import InProcessEngine
from genrm.engines.loading import LoadedModel, Placement, choose_placement, load_model
from genrm.fingerprints import fingerprint_weights
from genrm.prompts import render_prompt
from training import finetuning, trainer_setup
from training.engines import EngineChoice, open_engine
from training.finetuning import FineTuning, JudgeTrainer, TooFewSamplesError, fine_tune, trained_choice
from training.jobs.config import ConfigError
from training.samples import Collator, ImageSampler, Sample
from training.sources import SOURCE_ROW, Pair, RowError
from training.trainer_setup import last_checkpoint, with_lora

MakePairs = Callable[[int], list[Pair]]
QUICK = {"batch_size": 4, "micro_batch_size": 4, "checkpoint_every": 2, "learning_rate": 1e-3}

pytestmark = pytest.mark.filterwarnings("ignore:.*(checkpointing|pin_memory).*")


def samples_of(pairs: list[Pair]) -> list[Sample]:
    return [
        Sample(pair=pair, first=first, text=f"Seen it.\nVerdict: {'First' if first == pair.label else 'Second'}")
        for pair in pairs
        for first in ("A", "B")
    ]


class Losses(TrainerCallback):
    """Keeps the loss of every step; may end the process' training as a kill would."""

    def __init__(self, *, dies_at: int | None = None) -> None:
        self.dies_at = dies_at

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Die after the step, if asked to."""
        if state.global_step == self.dies_at:
            raise KeyboardInterrupt


def weights_of(choice: EngineChoice) -> dict[str, torch.Tensor]:
    placement = choose_placement(device="cpu", dtype="float32", attention="sdpa")
    model: Any = load_model(choice.model_name, adapter=choice.adapter, placement=placement).model
    return dict(model.named_parameters())


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    placement = choose_placement(device="cpu", dtype="float32", attention="sdpa")
    return load_model(EngineChoice().model_name, placement=placement)


def decode(loaded: LoadedModel, ids: torch.Tensor) -> str:
    return str(loaded.processor.tokenizer.decode(ids))


def test_a_batch_has_the_engines_prompts_and_predicts_the_answers(loaded: LoadedModel, make_pairs: MakePairs) -> None:
    samples = samples_of(make_pairs(2))[:3]
    batch = Collator(loaded.processor, loaded.model, max_tokens=4096)(samples)
    ids, end = batch["input_ids"][0], loaded.processor.tokenizer.eos_token
    assert torch.equal(ids[batch["logits_to_keep"] + 1], batch["targets"])
    for number, sample in enumerate(samples):
        assert decode(loaded, batch["targets"][batch["owners"] == number]) == sample.text + end
    alone = Collator(loaded.processor, loaded.model, max_tokens=4096)(samples[:1])
    prompt = render_prompt(samples[0].pair.load(), first=samples[0].first, mode="critique")
    assert f"{prompt.tail}{end}\n<|im_start|>assistant\n{samples[0].text}{end}" in decode(loaded, alone["input_ids"][0])
    with pytest.raises(ValueError, match="Raise max_tokens"):
        Collator(loaded.processor, loaded.model, max_tokens=64)(samples[:1])


def test_a_text_with_the_image_placeholder_is_refused(loaded: LoadedModel, make_pairs: MakePairs) -> None:
    sample = replace(samples_of(make_pairs(1))[0], text="Seen <|image_pad|>.\nVerdict: First")
    with pytest.raises(ValueError, match="holds the model's image placeholder"):
        Collator(loaded.processor, loaded.model, max_tokens=4096)([sample])


def test_samples_that_cannot_be_learned_from_are_left_out_of_a_training_and_named(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> tuple[Image.Image, ...]:
        raise RowError("its image cannot be read.")

    pairs = make_pairs(6)
    pairs[1] = replace(pairs[1], load_images=fail)
    pairs[2] = replace(pairs[2], load_images=lambda: (Image.new("RGB", (3000, 10)),))
    samples = samples_of(pairs)
    samples[0] = replace(samples[0], text=f"Seen it. {'Again. ' * 500}\nVerdict: First")
    samples[1] = replace(samples[1], text="Seen <|image_pad|>.\nVerdict: Second")
    trained_on: list[list[Sample]] = []
    monkeypatch.setattr(JudgeTrainer, "train", lambda self, **_: trained_on.append(self.train_dataset))
    settings = FineTuning.model_validate({**QUICK, "max_tokens": 512})
    fine_tune(EngineChoice(), samples, settings, tmp_path / "six", seed=0)
    assert trained_on == [samples[6:]]
    for reason in ("p0 was skipped: A sample has", "p0 was skipped: The text", "p1 was skipped: its image cannot"):
        assert f"Row {reason}" in caplog.text
    assert "p2 was skipped: The model's image processor refuses" in caplog.text
    with pytest.raises(TooFewSamplesError, match="There are 2 samples that can be learned from"):
        fine_tune(EngineChoice(), samples[:8], settings, tmp_path / "two", seed=0)


def test_only_what_neighbours_with_one_image_have_in_common_is_shared(
    loaded: LoadedModel, make_pairs: MakePairs
) -> None:
    collator = Collator(loaded.processor, loaded.model, max_tokens=4096)
    one, other, third = samples_of(make_pairs(2))[:3]
    together, apart = collator([one, other, third]), [collator([sample]) for sample in (one, other, third)]
    assert len(together["image_grid_thw"]) == 2
    assert together["input_ids"].shape[1] < sum(batch["input_ids"].shape[1] for batch in apart)
    assert collator([one, third, other])["input_ids"].shape[1] == sum(b["input_ids"].shape[1] for b in apart)


def test_samples_of_one_row_are_neighbours_in_another_order_every_epoch(make_pairs: MakePairs) -> None:
    pairs = [replace(pair, record={SOURCE_ROW: f"row {i // 2}"}) for i, pair in enumerate(make_pairs(6))]
    samples = samples_of(pairs)
    sampler = ImageSampler(samples, seed=1)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first == again != second
    assert len(sampler) == 12
    for order in (first, second):
        assert sorted(order) == list(range(12))
        assert all(len({i // 4 for i in order[start : start + 4]}) == 1 for start in (0, 4, 8))


@pytest.mark.parametrize("method", ["lora", "full"])
async def test_what_was_trained_can_be_served_and_only_linear_layers_of_the_language_model_moved(
    method: str, make_pairs: MakePairs, tmp_path: Path
) -> None:
    settings = FineTuning.model_validate({**QUICK, "method": method, "epochs": 2})
    trained = fine_tune(EngineChoice(), samples_of(make_pairs(4)), settings, tmp_path, seed=0)
    assert not (tmp_path / "checkpoints").exists()
    if method == "lora":
        base = json.loads((tmp_path / "model" / "base_model.json").read_text())
        assert base["weights"] == fingerprint_weights(Path(EngineChoice().model_name))
    before, after = weights_of(EngineChoice()), weights_of(trained)
    moved = {name for name in before if not torch.equal(before[name], after[name].to(before[name].dtype))}
    assert moved
    assert all("language_model" in name and "proj" in name for name in moved)
    engine = open_engine(trained)
    assert isinstance(engine, InProcessEngine)
    await engine.start()
    await engine.close()
    assert fine_tune(EngineChoice(), [], settings, tmp_path, seed=0) == trained  # finished: not repeated


@pytest.mark.parametrize("changes", [{"method": "lora"}, {"method": "full", "optimizer": "muon"}])
def test_a_killed_training_ends_with_the_same_weights(
    changes: dict[str, str], make_pairs: MakePairs, tmp_path: Path
) -> None:
    settings = FineTuning.model_validate({**QUICK, **changes, "epochs": 2})
    samples = samples_of(make_pairs(6))
    whole = fine_tune(EngineChoice(), samples, settings, tmp_path / "whole", seed=3)
    with pytest.raises(KeyboardInterrupt):  # at the second of three steps of the second epoch, after a checkpoint there
        fine_tune(EngineChoice(), samples, settings, tmp_path / "killed", seed=3, callbacks=[Losses(dies_at=5)])
    torn = tmp_path / "killed" / "checkpoints" / "checkpoint-5"  # as a kill leaves it that came while it was written
    shutil.copytree(torn.with_name("checkpoint-4"), torn, ignore=shutil.ignore_patterns("trainer_state.json"))
    resumed = fine_tune(EngineChoice(), samples, settings, tmp_path / "killed", seed=3)
    one, other = weights_of(whole), weights_of(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_whose_state_is_cut_short_is_not_gone_on_from(tmp_path: Path) -> None:
    for step, state in ((4, '{"global_step": 4}'), (6, ""), (8, '{"global_st')):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")


def test_each_of_several_processes_resumes_in_the_order_of_the_epoch_that_was_broken(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batches_of_an_epoch(*, skipped: int) -> list[list[int]]:
        samples: Any = samples_of(make_pairs(8))
        settings = FineTuning(batch_size=2, micro_batch_size=2)
        trainer = JudgeTrainer(
            model=torch.nn.Linear(1, 1),
            args=finetuning._arguments(settings, tmp_path, seed=0, num_samples=16),
            train_dataset=samples,
            data_collator=lambda batch: [samples.index(sample) for sample in batch],
            mixing=0.5,
        )
        as_of_two = partial(prepare_data_loader, num_processes=2, process_index=0, put_on_device=False)
        monkeypatch.setattr(trainer.accelerator, "prepare", as_of_two)
        loader: Any = trainer.get_train_dataloader()
        rest = skip_first_batches(loader, skipped) if skipped else loader
        rest.set_epoch(1)
        return list(rest)

    assert batches_of_an_epoch(skipped=1) == batches_of_an_epoch(skipped=0)[1:]


def test_what_was_trained_runs_in_this_process_whoever_ran_the_start() -> None:
    start = EngineChoice(model="org/model", url="http://localhost:1/v1")
    for settings in (FineTuning(), FineTuning(method="full")):
        assert trained_choice(start, settings, Path("out")).url is None
    with pytest.raises(ValidationError, match="name it as model"):
        EngineChoice(url="http://localhost:1/v1", adapter="org/adapter")


@pytest.mark.parametrize(("sizes", "expected"), [((32, 2), (2, 4)), ((24, 4), (3, 2)), ((8, 32), (2, 1))])
def test_processes_share_a_batch_exactly(
    sizes: tuple[int, int], expected: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_setup, "num_processes", lambda: 4)
    settings = FineTuning(batch_size=sizes[0], micro_batch_size=sizes[1])
    arguments = finetuning._arguments(settings, tmp_path, seed=0, num_samples=64)
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == expected
    with pytest.raises(ConfigError, match="which 4 processes cannot share alike"):
        finetuning._arguments(FineTuning(batch_size=30), tmp_path, seed=0, num_samples=64)


def test_weights_that_learn_are_float32_also_where_the_model_would_run_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def choose(*, dtype: str, **_: str) -> Placement:
        placement = choose_placement(device="cpu", dtype="float32", attention="sdpa")
        return replace(placement, dtype=torch.bfloat16) if dtype == "auto" else placement

    monkeypatch.setattr(trainer_setup, "choose_placement", choose)
    for settings, dtype in ((FineTuning(), torch.bfloat16), (FineTuning(method="full"), torch.float32)):
        model, _ = finetuning._load(EngineChoice(), settings)
        assert model.dtype == dtype
        trained = with_lora(model, EngineChoice(), rank=4, alpha=8) if settings.method == "lora" else model
        assert {p.dtype for p in trained.parameters() if p.requires_grad} == {torch.float32}


def test_muon_with_lora_is_refused() -> None:
    with pytest.raises(ValidationError, match="method full"):
        FineTuning(optimizer="muon")
