"""The whole job: rows in, preference rows, counts and a report out; a killed run goes on and makes the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from PIL import Image

from training.jobs.config import read_config
from training.jobs.run_folder import RunFolder
from training.preference_rows import write_preference_rows
from training.preferences import vapr
from training.preferences.pairs import NoPairsError
from training.preferences.vapr import VaprConfig
from training.sources import read_pairs


def run(rows_file: Path, output: Path, *settings: str) -> Path:
    options = [f"source={rows_file}", f"output={output}", "experts.models=[]", "rows_per_shard=10", *settings]
    values = read_config(VaprConfig, None, options)
    with RunFolder.open(values.output, values) as folder:
        vapr.run(values, folder)
    return values.output


def result_of(output: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((output / "result.json").read_text())
    return result


def test_rows_are_in_trl_s_format_with_where_they_come_from(rows_file: Path, tmp_path: Path) -> None:
    output = run(rows_file, tmp_path / "out")
    data_set = load_dataset("parquet", data_dir=str(output / "data"), split="train", cache_dir=str(tmp_path / "cache"))
    row = data_set[0]
    assert [message["role"] for message in (*row["prompt"], *row["chosen"], *row["rejected"])] == [
        "user", "assistant", "assistant"
    ]  # fmt: skip
    assert isinstance(row["images"][0], Image.Image)
    assert (row["editor"], row["question_kind"], row["attempts"]) == ("rules", "source", 1.0)
    pairs = read_pairs(str(output / "data")).rows
    assert len(pairs) == len(data_set) == result_of(output)["num_pairs"]
    assert all(pair.label == "A" and pair.response_a != pair.response_b for pair in pairs)
    assert pairs[0].load().images[0].size == (56, 56)


def test_attempts_are_counted_by_kind_and_fate_and_drawn(rows_file: Path, tmp_path: Path) -> None:
    output = run(rows_file, tmp_path / "out", "yes_no.share=1")
    result = result_of(output)
    kept = sum(fates.get("kept", 0) for fates in result["fates"].values())
    assert kept == result["num_pairs"] + result["dropped_for_balance"] > 0
    assert result["acceptance"]["count"]["num"] == sum(result["fates"]["count"].values())
    assert {path.name for path in output.glob("*.png")} >= {"acceptance.png", "lengths.png", "styles.png"}
    assert not (output / "accepted").exists()


def test_naive_negatives_skip_every_check(rows_file: Path, tmp_path: Path) -> None:
    result = result_of(run(rows_file, tmp_path / "out", "editor.kind=naive", "yes_no.share=1"))
    assert result["dropped_for_balance"] == 0
    assert set(result["by_error_kind"]) <= {"borrowed", "added sentence", "truncated"}
    assert result["num_pairs"] == 40


@pytest.mark.parametrize("num_unusable", [0, 10], ids=["", "after a block without pairs"])
def test_a_killed_run_goes_on_and_makes_the_same_rows(
    num_unusable: int, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(num_unusable):
        (rows_file.parent / f"{i}.png").unlink()
    write: Callable[..., None] = write_preference_rows
    whole = run(rows_file, tmp_path / "whole", "yes_no.share=1")
    written = 0

    def die_later(*arguments: Any, **options: Any) -> None:
        nonlocal written
        written += 1
        if written > 2:
            raise KeyboardInterrupt
        write(*arguments, **options)

    monkeypatch.setattr(vapr, "write_preference_rows", die_later)
    with pytest.raises(KeyboardInterrupt):
        run(rows_file, tmp_path / "killed", "yes_no.share=1")
    monkeypatch.setattr(vapr, "write_preference_rows", write)
    resumed = run(rows_file, tmp_path / "killed", "yes_no.share=1")
    one, other = (read_pairs(str(folder / "data")).rows for folder in (whole, resumed))
    assert [pair.record for pair in one] == [pair.record for pair in other]
    assert result_of(whole) == result_of(resumed)


def test_rows_without_pictures_are_counted_and_none_at_all_is_an_error(rows_file: Path, tmp_path: Path) -> None:
    for i in range(30):
        (rows_file.parent / f"{i}.png").unlink()
    assert result_of(run(rows_file, tmp_path / "some"))["rows"]["row unusable"] == 30
    for i in range(30, 40):
        (rows_file.parent / f"{i}.png").unlink()
    with pytest.raises(NoPairsError, match=r"of 40 rows \(.*row unusable: 40"):
        run(rows_file, tmp_path / "none")
