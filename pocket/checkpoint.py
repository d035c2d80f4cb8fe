"""The state of a training run on disk, so that a killed one goes on where it was."""

import time
from pathlib import Path

import torch
from torch import nn

from pocket.optimizer import Optimizers

SECONDS_BETWEEN_CHECKPOINTS = 240


class Checkpoint:
    """`<folder>/<stage>.checkpoint.pt` of one model and its optimizers."""

    def __init__(self, folder: Path, stage: str, model: nn.Module, optimizers: Optimizers) -> None:
        self._path, self._model, self._optimizers = folder / f"{stage}.checkpoint.pt", model, optimizers
        self._saved = time.monotonic()

    def restore(self) -> int:
        """Load what was saved, if anything was. Returns the number of steps that are done."""
        if not self._path.exists():
            return 0
        state = torch.load(self._path, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._optimizers.load_state_dict(state["optimizers"])
        return int(state["step"])

    def save_now_and_then(self, num_steps_done: int) -> None:
        """Save if the last time is more than `SECONDS_BETWEEN_CHECKPOINTS` ago."""
        if time.monotonic() - self._saved < SECONDS_BETWEEN_CHECKPOINTS:
            return
        state = {
            "model": self._model.state_dict(),
            "optimizers": self._optimizers.state_dict(),
            "step": num_steps_done,
        }
        torch.save(state, self._path)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file: the run is finished."""
        self._path.unlink(missing_ok=True)
