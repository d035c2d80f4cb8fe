"""Pairs with drawn pictures, for jobs that need no model."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from training.sources import Pair

MakePairs = Callable[[int], list[Pair]]


@pytest.fixture
def make_pairs() -> MakePairs:
    """Pairs p0, p1, … with pictures of different colours; the better response is A and B in turns."""

    def make(num: int) -> list[Pair]:
        return [
            Pair(
                id=f"p{i}",
                question=f"What is number {i}?",
                response_a=f"a dog {i}",
                response_b=f"a cat {i}",
                label="A" if i % 2 == 0 else "B",
                group=("general", "reasoning")[i % 2],
                load_images=lambda i=i: (Image.new("RGB", (56, 56), (i % 256, 0, 0)),),  # type: ignore[misc]
            )
            for i in range(num)
        ]

    return make


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """JSON lines of 40 labelled pairs with a picture and sightings each."""
    import json

    folder = tmp_path / "rows"
    folder.mkdir()
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for i in range(40):
            Image.new("RGB", (56, 56), (i, 0, 0)).save(folder / f"{i}.png")
            found = [{"phrase": "dog", "places": ["upper left"]}]
            row = {
                "id": f"p{i}", "image": f"{i}.png", "question": f"What is number {i}?",
                "reference": f"There are {i} dogs.",
                "chosen": f"There are {i} dogs.", "rejected": f"There are {i + 1} dogs.", "group": ("x", "y")[i % 2],
                "sightings": json.dumps(found),
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return folder / "rows.jsonl"
