"""Rows with pictures on disk, and judges on the fake engine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from genrm.engines.fake import FakeEngine, FakeVerdict
from training.evaluation.judges import LocalJudge
from training.evaluation.setup import Setup

IDS = ("wildvision-battle_1", "RLAIF-V_2", "RLHF-V-3", "mathverse_4", "mmmu_5", "hallucination_pair-6")


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """24 labelled pairs with a small picture each; the better response is A and B in turns."""
    folder = tmp_path / "rows"
    folder.mkdir()
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(24):
            Image.new("RGB", (16, 16), (10 * number, 90, 30)).save(folder / f"{number}.png")
            row = {
                "id": f"{IDS[number % 6]}-{number}",
                "query": f"What is in picture {number}?",
                "response": [f"A dog, number {number}, on a red mat.", f"A cat, number {number}."],
                "human_ranking": [0, 1] if number % 2 == 0 else [1, 0],
                "image": f"{number}.png",
            }
            file.write(json.dumps(row) + "\n")
    return folder / "rows.jsonl"


@pytest.fixture
def make_setup(rows_file: Path, tmp_path: Path) -> Callable[..., Setup]:
    """A setup over `rows_file` with a judge on a fake engine. engine: in place of one with this verdict."""

    def make(*, verdict: FakeVerdict = "content", engine: FakeEngine | None = None, **changes: object) -> Setup:
        judge = LocalJudge(engine or FakeEngine(verdict=verdict))
        fields = {"source": str(rows_file), "output": tmp_path / "output", "judge": judge} | changes
        return Setup(**fields)  # type: ignore[arg-type] # a test passes what the field takes

    return make
