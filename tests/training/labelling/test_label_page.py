"""The page of a labelling: dropped pairs by reason first, then kept ones, the least sure before the surest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from genrm.engines.fake import FakeEngine
from training.evaluation.judges import LocalJudge
from training.jobs.run_folder import RunFolder
from training.labelling import label as labelling
from training.labelling.label import LabelConfig, run
from training.labelling.rules import KeepRules

ReadPage = Callable[[Path], Any]


@pytest.fixture
def label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Labels rows with a fake judge; answers of one row each."""

    def do(answers: list[tuple[str, str]], **settings: Any) -> dict[str, Any]:
        Image.new("RGB", (40, 30), "teal").save(tmp_path / "a.png")
        rows = [
            {"id": f"r{i}", "image": "a.png", "question": f"What is {i}?", "response_a": a, "response_b": b}
            for i, (a, b) in enumerate(answers)
        ]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        monkeypatch.setattr(labelling, "open_judge", lambda _: LocalJudge(FakeEngine()))
        config = LabelConfig(source=str(tmp_path / "rows.jsonl"), output=tmp_path / "out", rows_per_shard=4, **settings)
        with RunFolder.open(config.output, config) as folder:
            return run(config, folder)

    return do


def read_verdicts(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "verdicts").glob("*.parquet"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def test_dropped_ones_come_first_then_the_least_sure_then_the_surest(
    label: Callable[..., dict[str, Any]], tmp_path: Path, read_page: ReadPage
) -> None:
    label([(f"a dog {i}" * (i % 5 + 1), f"a cat {i}") for i in range(30)], keep=KeepRules(min_margin=0.4))
    page = read_page(tmp_path / "out")
    verdicts = {row["id"]: row for row in read_verdicts(tmp_path / "out")}
    shown = [verdicts[name] for name in page.texts if name in verdicts]
    outcomes = page.list_outcomes()
    assert len(shown) == len(outcomes) == 20
    assert outcomes == sorted(outcomes, key=["bad", "open", "good"].index)
    kinds = {
        tone: [abs(row["margin"]) for row, each in zip(shown, outcomes, strict=True) if each == tone]
        for tone in ("bad", "open", "good")
    }
    assert all(kinds.values())
    assert {row["dropped_because"] for row in shown[: len(kinds["bad"])]} == {"margin too small"}
    assert kinds["open"] == sorted(kinds["open"])
    assert kinds["good"] == sorted(kinds["good"], reverse=True)
    assert max(kinds["open"]) <= min(kinds["good"])
    assert "Dropped: margin too small" in page.text


def test_both_readings_of_dropped_pairs_are_kept_and_shown(
    label: Callable[..., dict[str, Any]], tmp_path: Path, read_page: ReadPage
) -> None:
    label([("a dog", "a cat")], keep=KeepRules(min_margin=1.0))
    (row,) = read_verdicts(tmp_path / "out")
    readings = json.loads(row["readings"])
    assert [reading["first"] for reading in readings] == ["A", "B"]
    page = read_page(tmp_path / "out")
    assert "A read first, B second" in page.text
    assert readings[1]["critique"] in page.text


def test_a_finished_labelling_makes_its_page_again_from_the_folder(
    label: Callable[..., dict[str, Any]], tmp_path: Path, read_page: ReadPage
) -> None:
    answers = [(f"a dog {i}", f"a cat {i}") for i in range(6)]
    label(answers)
    page = read_page(tmp_path / "out")
    (tmp_path / "out" / "report.html").unlink()
    (tmp_path / "a.png").write_bytes(b"no picture any more")
    result = label(answers)
    again = read_page(tmp_path / "out")
    assert again.list_outcomes() == page.list_outcomes()
    assert len(page.find("figure")) == len(list((tmp_path / "out").glob("*.png"))) == 3
    assert f"{result['num_kept']} of 6 judged" in again.text
    assert "Starts 2" in again.text


def test_shards_without_readings_show_the_critique_that_they_have(
    label: Callable[..., dict[str, Any]], tmp_path: Path, read_page: ReadPage
) -> None:
    answers = [("a dog", "a cat")]
    label(answers)
    (path,) = (tmp_path / "out" / "verdicts").glob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["readings"]), path)
    label(answers)
    page = read_page(tmp_path / "out")
    assert "read first" not in page.text
    assert "What the judge wrote" in page.text
