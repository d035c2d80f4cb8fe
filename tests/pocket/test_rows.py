"""Export: files that other tools read."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pocket.rows import export_rows, make_row
from pocket.sample_files import SAMPLES, write_batch
from pocket.scenes import Split
from service.batches.lines import BatchLine
from service.schemas import JudgeRequest

FIELDS = {"id", "query", "response", "image", "human_ranking", "ground_truth", "group", "kind", "error_kind"}


@pytest.mark.usefixtures("emoji_font")
def test_export_writes_pictures_and_rows_with_vl_rewardbench_s_names(tmp_path: Path) -> None:
    path = export_rows(tmp_path / "new" / "folder", Split.HELD_OUT, 6)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 6
    for index, row in enumerate(rows):
        expected = make_row(Split.HELD_OUT, index)
        assert row.keys() >= FIELDS
        assert row["response"] == [expected.response_a, expected.response_b]
        assert row["response"][row["human_ranking"].index(0)] == row["ground_truth"]
        with Image.open(path.parent / row["image"]) as picture:
            assert picture.format == "PNG"


@pytest.mark.usefixtures("emoji_font")
def test_export_of_the_same_seed_is_byte_identical(tmp_path: Path) -> None:
    one, two = (export_rows(tmp_path / name, Split.DEV, 3, seed=4) for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    pictures = sorted(path.name for path in one.parent.glob("*.png"))
    assert all((one.parent / name).read_bytes() == (two.parent / name).read_bytes() for name in pictures)


def test_samples_become_the_input_of_a_batch(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    lines = [BatchLine.model_validate_json(line) for line in write_batch(tmp_path).read_text("utf-8").splitlines()]
    assert len(lines) == len({line.custom_id for line in lines}) == 12
    for line in lines:
        JudgeRequest.model_validate_json(json.dumps(line.body))


def test_the_shipped_samples_are_complete() -> None:
    rows = [json.loads(line) for line in (SAMPLES / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["group"] for row in rows} == {"general", "hallucination", "reasoning"}
    assert all((SAMPLES / row["image"]).is_file() for row in rows)
    assert len(list(SAMPLES.glob("*.png"))) == len(rows)
