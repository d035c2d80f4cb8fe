"""DPO: the policy learns what is preferred, from any source of pairs, and a killed training ends the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from genrm.engines.contract import Prompt
from genrm.engines.in_process import InProcessEngine
from genrm.engines.preparation import render_text
from genrm.shipped import base_folder
from training.dpo import CURVES_PLOT, DpoConfig, TooFewPairsError, run
from training.dpo_training import DpoTraining, train_dpo
from training.engines import EngineChoice
from training.jobs.config import ConfigError
from training.jobs.run_folder import RunFolder
from training.preference_set import drop_unusable, make_data_set
from training.sources import Pair, RowError

if TYPE_CHECKING:
    from tests.training.conftest import MakePairs

pytestmark = [
    pytest.mark.skipif(not (base_folder() / "config.json").is_file(), reason="the shipped base is not built"),
    pytest.mark.filterwarnings("ignore:.*(checkpointing|pin_memory|requires_grad).*"),
]
QUICK = DpoTraining(
    lora_rank=4, batch_size=4, micro_batch_size=4, learning_rate=3e-3, warmup_share=0, checkpoint_every=2
)


class Rewards(TrainerCallback):
    """Keeps the share of pairs whose chosen answer gained on the other, and may stop as Ctrl-C would."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.dies_at = dies_at
        self.accuracies: list[float] = []

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Keep the figure."""
        if logs and "rewards/accuracies" in logs:
            self.accuracies.append(logs["rewards/accuracies"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Die at the step."""
        if state.global_step == self.dies_at:
            raise KeyboardInterrupt


def weights_of(choice: EngineChoice) -> dict[str, torch.Tensor]:
    return load_file(Path(str(choice.adapter)) / "adapter_model.safetensors")


def test_the_policy_comes_to_prefer_what_is_chosen(make_pairs: MakePairs, tmp_path: Path) -> None:
    rewards = Rewards()
    trained = train_dpo(
        EngineChoice(), make_pairs(8), QUICK.model_copy(update={"epochs": 8}), tmp_path, seed=0, callbacks=[rewards]
    )
    assert rewards.accuracies[-1] == 1.0
    assert not (tmp_path / "checkpoints").exists()
    assert train_dpo(EngineChoice(), [], QUICK, tmp_path, seed=0) == trained, "finished, so not repeated"


def test_a_killed_training_ends_with_the_same_adapter(make_pairs: MakePairs, tmp_path: Path) -> None:
    settings, pairs = QUICK.model_copy(update={"epochs": 3}), make_pairs(8)
    whole = train_dpo(EngineChoice(), pairs, settings, tmp_path / "whole", seed=3)
    with pytest.raises(KeyboardInterrupt):
        train_dpo(EngineChoice(), pairs, settings, tmp_path / "killed", seed=3, callbacks=[Rewards(dies_at=5)])
    resumed = train_dpo(EngineChoice(), pairs, settings, tmp_path / "killed", seed=3)
    one, other = weights_of(whole), weights_of(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)


async def test_an_adapter_is_trained_on_against_itself_as_it_was(make_pairs: MakePairs, tmp_path: Path) -> None:
    first = train_dpo(EngineChoice(), make_pairs(8), QUICK, tmp_path / "first", seed=0)
    second = train_dpo(first, make_pairs(8), QUICK, tmp_path / "second", seed=1)
    before, after = weights_of(first), weights_of(second)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert sorted(path.name for path in (tmp_path / "second" / "model").iterdir() if path.is_dir()) == []
    engine = InProcessEngine(str(base_folder()), adapter=second.adapter)
    await engine.start()
    await engine.close()


def test_training_reads_the_very_prompt_that_the_engine_reads(make_pairs: MakePairs) -> None:
    from transformers import AutoProcessor
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    pair = make_pairs(1)[0]
    processor = AutoProcessor.from_pretrained(base_folder())
    prompt = Prompt(system="", images=pair.load_images(), shared=pair.question, tail="")
    asked = processor(text=[render_text(processor, prompt)], images=list(prompt.images))["input_ids"][0]
    trained = DataCollatorForVisionPreference(processor=processor)([make_data_set([pair])[0]])
    is_prompt = (trained["completion_mask"][0] == 0) & (trained["attention_mask"][0] == 1)
    assert trained["input_ids"][0][is_prompt].tolist() == list(asked)


@pytest.mark.parametrize(("column", "loss", "before"), [("bytes", "sigmoid", 0.6931), ("path", "apo_zero", 1.0)])
def test_the_job_trains_on_any_source_of_pairs_and_draws_its_curves(
    column: str, loss: Any, before: float, rows_file: Path, tmp_path: Path
) -> None:
    source = str(rows_file)
    if column == "bytes":
        from training.preference_rows import encode_images, make_preference_row, write_preference_rows
        from training.sources import read_pairs

        rows = [
            make_preference_row(
                images=encode_images(pair.load_images()), question=pair.question, chosen=pair.better,
                rejected=pair.worse, id=pair.id,
            )
            for pair in read_pairs(source).rows
        ]  # fmt: skip
        write_preference_rows(tmp_path / "data" / "rows.parquet", rows, texts=("id",))
        source = str(tmp_path / "data")
    config = DpoConfig(
        source=source, output=tmp_path / "run", limit=8, training=QUICK.model_copy(update={"loss": (loss,)})
    )
    with RunFolder.open(config.output, config) as folder:
        run(config, folder)
        assert folder.read_metrics()["loss"][1] == pytest.approx(before, abs=1e-3), "no difference before a step"
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == {"pairs": 8, "pairs_left_out": 0}
    assert (tmp_path / "run" / CURVES_PLOT).read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_learned_from_is_left_out_before_the_training(make_pairs: MakePairs) -> None:
    def fail() -> Any:
        raise RowError("its image cannot be read.")

    good, broken, same = make_pairs(3)
    broken = replace(broken, load_images=fail)
    same = replace(same, response_b=f" {same.response_a} ")
    found = drop_unusable([good, broken, same])
    assert found.rows == [good]
    assert {row.id: row.reason for row in found.skipped} == {
        "p1": "its image cannot be read.",
        "p2": "chosen and rejected say the same.",
    }


def test_less_than_a_batch_is_refused_with_what_to_do(rows_file: Path, tmp_path: Path) -> None:
    config = DpoConfig(source=str(rows_file), output=tmp_path / "run", limit=8)
    with RunFolder.open(config.output, config) as folder, pytest.raises(TooFewPairsError, match="one batch of 64"):
        run(config, folder)


def test_a_pattern_that_fits_no_module_is_refused_by_its_name(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs: list[Pair] = make_pairs(4)
    with pytest.raises(ConfigError, match="lora_targets"):
        train_dpo(EngineChoice(), pairs, QUICK.model_copy(update={"lora_targets": "no_such"}), tmp_path, seed=0)


def test_every_loss_has_its_weight() -> None:
    with pytest.raises(ValidationError, match="as many numbers"):
        DpoTraining(loss=("sigmoid", "sft"), loss_weights=(1.0,))
