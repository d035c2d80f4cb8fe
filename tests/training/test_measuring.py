"""Measuring between steps: by the first process alone, once, and never on nothing."""

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
