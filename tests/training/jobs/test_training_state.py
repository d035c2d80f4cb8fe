"""A training whose figures stop being numbers ends with the last good checkpoint kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from training.jobs.config import JobConfig
from training.jobs.run_folder import RunFolder
from training.jobs.training_state import TrainingDivergedError, TrainingWatch


class Line(nn.Module):
    """y = w x with a squared loss."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The mean loss of a batch."""
        return {"loss": ((self.weight * x - labels) ** 2).mean()}


def train(tmp_path: Path, xs: list[float], **settings: Any) -> dict[str, dict[int, float]]:
    """One row a step, in order; a log every fourth step and a checkpoint every second."""
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "checkpoints"), per_device_train_batch_size=1, num_train_epochs=1, logging_steps=4,
        save_steps=2, learning_rate=1e-3, report_to=[], use_cpu=True, disable_tqdm=True, **settings,
    )  # fmt: skip
    rows: Any = [{"x": torch.tensor(x), "labels": torch.tensor(0.5)} for x in xs]
    with RunFolder.open(tmp_path / "run", JobConfig(output=tmp_path / "run")) as folder:
        watch = TrainingWatch(folder, prefix="round-1/")
        trainer = Trainer(model=Line(), args=arguments, train_dataset=rows, callbacks=[watch])
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(rows)  # type: ignore[method-assign]
        try:
            trainer.train()
        finally:
            metrics = folder.read_metrics()
    return metrics


@pytest.mark.slow
def test_figures_of_the_trainer_reach_the_run_folder(tmp_path: Path) -> None:
    metrics = train(tmp_path, [1.0] * 8)
    assert list(metrics["round-1/loss"]) == [2, 4, 6, 8]  # before every save
    assert metrics["round-1/loss"][2] == pytest.approx(0.25, rel=0.01)
    assert "round-1/train_runtime" in metrics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "spoilt", "name"),
    [(4, float("nan"), "loss"), (4, float("inf"), "loss"), (5, 1e30, "loss"), (5, 1.5e19, "grad_norm")],
)
def test_a_figure_that_is_no_number_ends_training_before_it_is_saved(
    tmp_path: Path, row: int, spoilt: float, name: str
) -> None:
    xs = [1.0] * 8
    xs[row] = spoilt
    with pytest.raises(TrainingDivergedError) as caught:
        train(tmp_path, xs)
    assert caught.value.step == 6
    assert caught.value.checkpoint == tmp_path / "checkpoints" / "checkpoint-4"
    assert f"At step 6 {name}" in str(caught.value)
    assert f"The last good checkpoint is {caught.value.checkpoint}." in str(caught.value)
    assert not (tmp_path / "checkpoints" / "checkpoint-6").exists()


@pytest.mark.slow
def test_without_a_checkpoint_the_message_says_so(tmp_path: Path) -> None:
    said = "No checkpoint was saved before.* lower the learning rate and name another output folder"
    with pytest.raises(TrainingDivergedError, match=said) as caught:
        train(tmp_path, [float("nan"), 1.0])
    assert caught.value.checkpoint is None
