"""A training run that was killed goes on where it was."""

from pathlib import Path

import pytest
import torch

from pocket.checkpoint import Checkpoint
from pocket.optimizer import Optimizers


def make(folder: Path) -> tuple[torch.nn.Linear, Checkpoint]:
    model = torch.nn.Linear(2, 2)
    return model, Checkpoint(folder, "stage", model, Optimizers([model], learning_rate=0.1, num_steps=10))


def test_what_was_saved_is_restored_with_the_number_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pocket.checkpoint.SECONDS_BETWEEN_CHECKPOINTS", 0)
    model, checkpoint = make(tmp_path)
    assert checkpoint.restore() == 0
    checkpoint.save_now_and_then(7)
    other, again = make(tmp_path)
    assert again.restore() == 7
    assert torch.equal(other.weight, model.weight)
    again.remove()
    assert make(tmp_path)[1].restore() == 0


def test_it_is_not_saved_at_every_step(tmp_path: Path) -> None:
    _, checkpoint = make(tmp_path)
    checkpoint.save_now_and_then(1)
    assert not list(tmp_path.iterdir())
