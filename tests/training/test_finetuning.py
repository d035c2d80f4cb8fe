"""Fine-tuning the shipped base on a few samples: it learns, resumes, and leaves what can be served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from genrm.engines.in_process import InProcessEngine
from genrm.engines.loading import choose_placement, load_model
from genrm.prompts import render_prompt
from training.engines import EngineChoice, open_engine
from training.finetuning import FineTuning, fine_tune
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
    config = loaded.model.config
    collator = Collator(
        loaded.processor,
        image_token_id=config.image_token_id,
        merge_area=config.vision_config.spatial_merge_size**2,
        max_tokens=4096,
    )
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
        Collator(loaded.processor, image_token_id=config.image_token_id, merge_area=4, max_tokens=64)([sample])


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
    resumed = fine_tune(EngineChoice(), samples, settings, tmp_path / "killed", seed=3)
    one, other = weights_of(whole), weights_of(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_muon_with_lora_is_refused() -> None:
    with pytest.raises(ValidationError, match="method full"):
        FineTuning(optimizer="muon")
