"""The record of a training stage: one JSON line per logged step, and a picture of the curves."""

import json
import time
from pathlib import Path

from genrm.plots import open_axes


class Curves:
    """Appends measurements to `<folder>/<stage>.jsonl` and draws `<folder>/<stage>.png`."""

    def __init__(self, folder: Path, stage: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._stage = folder / f"{stage}.jsonl", stage
        self._started = time.monotonic()

    def log(self, step: int, **values: float) -> None:
        """Record values at a step."""
        row = {"step": step, "seconds": round(time.monotonic() - self._started, 1)}
        row |= {name: round(float(value), 5) for name, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def plot(self) -> Path:
        """Draw losses (left) and accuracies (right) against steps. Returns the PNG's path."""
        rows = [json.loads(line) for line in self._path.read_text().splitlines()]
        names = sorted({name for row in rows for name in row} - {"step", "seconds"})
        path = self._path.with_suffix(".png")
        with open_axes(path, figsize=(11, 4), columns=2) as (left, right):
            for name in names:
                axis = left if "loss" in name else right
                points = [(row["step"], row[name]) for row in rows if name in row]
                axis.plot(*zip(*points, strict=True), label=name)
            for axis, label in ((left, "loss (nats per token or cell)"), (right, "accuracy")):
                axis.set(xlabel="step", ylabel=label, title=self._stage)
                if axis.lines:
                    axis.legend(fontsize=7)
            right.set_ylim(0, 1.02)
        return path
