"""Fine-tuning the shipped base on a few samples: it learns, resumes, and leaves what can be served."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from genrm.engines.in_process import InProcessEngine
from genrm.engines.loading import Placement, choose_placement, load_model
from genrm.prompts import render_prompt
from training import finetuning
from training.engines import EngineChoice, open_engine
from training.finetuning import FineTuning, fine_tune, trained_choice
from training.jobs.config import ConfigError
from training.losses import IGNORED
from training.samples import Collator, Sample
from training.sources import Pair

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


def test_a_batch_has_the_engines_prompt_on_the_left_of_the_answer(make_pairs: MakePairs) -> None:
    loaded = load_model(
        EngineChoice().model_name, placement=choose_placement(device="cpu", dtype="float32", attention="sdpa")
    )
    collator = Collator(loaded.processor, loaded.model.config, max_tokens=4096)
    sample = samples_of(make_pairs(2))[0]
    batch = collator([sample, *samples_of(make_pairs(2))[1:3]])
    ids, labels = batch["input_ids"], batch["labels"]
    assert isinstance(ids, torch.Tensor)
    assert isinstance(labels, torch.Tensor)
    answer = labels[0][labels[0] != IGNORED]
    assert loaded.processor.tokenizer.decode(answer) == sample.text + loaded.processor.tokenizer.eos_token
    assert labels[0][-1] != IGNORED
    prompt = render_prompt(sample.pair.load(), first=sample.first, mode="critique")
    shown = str(loaded.processor.tokenizer.decode(ids[0][: -len(answer)]))
    assert shown.endswith("assistant\n")
    assert prompt.tail in shown
    with pytest.raises(ValueError, match="Raise max_tokens"):
        Collator(loaded.processor, loaded.model.config, max_tokens=64)([sample])


@pytest.mark.parametrize("method", ["lora", "full"])
async def test_what_was_trained_can_be_served_and_only_linear_layers_of_the_language_model_moved(
    method: str, make_pairs: MakePairs, tmp_path: Path
) -> None:
    settings = FineTuning.model_validate({**QUICK, "method": method, "epochs": 2})
    trained = fine_tune(EngineChoice(), samples_of(make_pairs(4)), settings, tmp_path, seed=0)
    assert not (tmp_path / "checkpoints").exists()
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
    samples = samples_of(make_pairs(4))
    whole = fine_tune(EngineChoice(), samples, settings, tmp_path / "whole", seed=3)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(EngineChoice(), samples, settings, tmp_path / "killed", seed=3, callbacks=[Losses(dies_at=3)])
    torn = tmp_path / "killed" / "checkpoints" / "checkpoint-3"  # as a kill leaves it that came while it was written
    shutil.copytree(torn.with_name("checkpoint-2"), torn, ignore=shutil.ignore_patterns("trainer_state.json"))
    resumed = fine_tune(EngineChoice(), samples, settings, tmp_path / "killed", seed=3)
    one, other = weights_of(whole), weights_of(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)


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
    monkeypatch.setattr(finetuning, "num_processes", lambda: 4)
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

    monkeypatch.setattr(finetuning, "choose_placement", choose)
    for settings, dtype in ((FineTuning(), torch.bfloat16), (FineTuning(method="full"), torch.float32)):
        model, _ = finetuning._load(EngineChoice(), settings)
        assert model.dtype == dtype
        trained = finetuning._with_lora(model, EngineChoice(), settings) if settings.method == "lora" else model
        assert {p.dtype for p in trained.parameters() if p.requires_grad} == {torch.float32}


def test_muon_with_lora_is_refused() -> None:
    with pytest.raises(ValidationError, match="method full"):
        FineTuning(optimizer="muon")
