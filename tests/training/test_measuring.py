"""Measuring between steps: by the first process alone, once, and never on nothing."""

import json
from pathlib import Path
from threading import Timer

import pytest

from genrm.engines.fake import FakeEngine
from training import measuring
from training.engines import EngineChoice
from training.jobs.files import write_json
from training.measuring import Measuring, measure
from training.tables import SourceError


def test_a_finished_measurement_is_not_repeated(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "open_engine", lambda _: FakeEngine())
    measured = measure(EngineChoice(), Measuring(pairs=str(rows_file), limit=4), tmp_path)
    assert set(measured["scores"]) == {"p0", "p1", "p2", "p3"}
    assert measured["figures"]["overall"]["num"] == 4
    monkeypatch.setattr(measuring, "open_engine", lambda _: pytest.fail("it was measured again"))
    assert measure(EngineChoice(), Measuring(pairs="gone"), tmp_path) == measured


def test_other_processes_take_what_the_first_one_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    first = Timer(0.2, write_json, [tmp_path / "measured.json", {"scores": {"p": 1.0}}])
    first.start()
    assert measure(EngineChoice(), Measuring(pairs="unread"), tmp_path) == {"scores": {"p": 1.0}}
    first.join()


def test_pairs_of_which_none_can_be_judged_are_no_measurement(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "open_engine", lambda _: FakeEngine())
    for image in rows_file.parent.glob("*.png"):
        image.unlink()
    with pytest.raises(SourceError, match="None of the 40 pairs"):
        measure(EngineChoice(), Measuring(pairs=str(rows_file)), tmp_path)


def test_pairs_that_share_an_id_each_have_a_score_and_those_not_judged_are_counted(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six pairs three share an id, one of these has no picture, and two more lines are no pairs."""
    monkeypatch.setattr(measuring, "open_engine", lambda _: FakeEngine())
    names = ["same", "a", "same", "same", "same#2", "b"]
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()[:6]]
    rows = [row | {"id": name} for row, name in zip(rows, names, strict=True)] + [{"id": "c"}, {"id": "d"}]
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = measure(EngineChoice(), Measuring(pairs=str(rows_file)), tmp_path / "whole")
    assert list(whole["scores"]) == ["same#1", "a", "same#3", "same#4", "same#2", "b"]
    assert (whole["figures"]["overall"]["num"], whole["num_not_judged"]) == (6, 2)
    (rows_file.parent / "0.png").unlink()
    part = measure(EngineChoice(), Measuring(pairs=str(rows_file)), tmp_path / "part")
    assert part["scores"] == {name: score for name, score in whole["scores"].items() if name != "same#1"}
    assert part["num_not_judged"] == 3
