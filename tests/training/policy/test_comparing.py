"""Policies side by side: paired over the images they share, and refused where there is nothing to pair."""

import json
from pathlib import Path

import pytest

from training.policy.comparing import NotComparableError, compare_policies


def write_scores(folder: Path, scores: dict[str, dict[str, list[float]]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def make_folders(tmp_path: Path) -> dict[str, Path]:
    """After training, ten of the fifteen wrong answers of forty are right; POPE was measured after it only."""
    before = {str(number): [float(number >= 15), 1.0, 1.0] for number in range(40)}
    after = {str(number): [float(number >= 5), 1.0, 1.0] for number in range(40)}
    return {
        "before": write_scores(tmp_path / "a", {"qa: exact: overall": before, "qa: exact by kind: count": before}),
        "after": write_scores(tmp_path / "b", {"qa: exact: overall": after, "pope: random: accuracy": after}),
    }


def test_each_policy_is_set_beside_the_first(tmp_path: Path) -> None:
    report = compare_policies(make_folders(tmp_path), tmp_path / "out")
    assert report.sections["before"]["qa: exact: overall"]["value"] == 25 / 40
    assert report.sections["after"]["qa: exact: overall"]["value"] == 35 / 40
    difference = report.sections["after - before"]
    assert list(difference) == ["qa: exact: overall"]
    assert difference["qa: exact: overall"]["value"] == pytest.approx(0.25)
    assert 0.1 < difference["qa: exact: overall"]["low"] < 0.25 < difference["qa: exact: overall"]["high"] < 0.45
    assert "after - before" in (tmp_path / "out" / "comparison" / "report.txt").read_text()


def test_every_task_that_somebody_was_measured_on_is_drawn(tmp_path: Path) -> None:
    compare_policies(make_folders(tmp_path), tmp_path / "out")
    drawn = {path.name for path in (tmp_path / "out" / "comparison").glob("*.png")}
    assert drawn == {"qa.png", "pope.png", "differences.png"}


def test_a_folder_without_scores_is_refused(tmp_path: Path) -> None:
    folders = make_folders(tmp_path) | {"other": tmp_path / "nowhere"}
    with pytest.raises(NotComparableError, match="given as 'other', is no finished measurement"):
        compare_policies(folders, tmp_path / "out")


def test_folders_of_other_images_are_refused(tmp_path: Path) -> None:
    other = write_scores(tmp_path / "c", {"qa: exact: overall": {"elsewhere": [1.0, 1.0, 1.0]}})
    with pytest.raises(NotComparableError, match="no image in common"):
        compare_policies({**make_folders(tmp_path), "other": other}, tmp_path / "out")
