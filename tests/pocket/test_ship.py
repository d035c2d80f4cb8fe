"""Cards of shipped models: no card without a measurement, and every figure from the report."""

import json
from pathlib import Path

import pytest

from pocket import ship
from pocket.ship import ReportMissingError, write_card

SHARE = {"value": 0.875, "low": 0.8, "high": 0.9, "num": 10}
REPORT = {
    "settings": {"source": "pocket:held-out?n=10&seed=0"},
    "sections": {
        "accuracy": {"overall": SHARE, "general": SHARE, "reasoning": SHARE | {"value": 0.75}},
        "accuracy by kind": {"objects": SHARE},
        "behaviour": {"consistency": SHARE},
        "baselines": {"same judge, grey picture": SHARE | {"value": 0.512}},
        "calibration": {"ECE": SHARE | {"value": 0.0234}},
    },
}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build folder with a recipe and nothing measured."""
    recipe = {
        "vision": [],
        "language_scenes": "range(1, 2)",
        "base": [{"num_steps": 3}],
        "policy": {},
        "supervised": {},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "config.yaml").write_text("output: somewhere\npairs_for_ift: 4\n")
    return tmp_path


def test_a_model_that_was_not_measured_is_not_shipped(build: Path) -> None:
    with pytest.raises(ReportMissingError, match="vl-genrm pocket bench"):
        write_card("judge", build)


def test_the_card_of_a_policy_has_what_eval_policy_measured(build: Path) -> None:
    with pytest.raises(ReportMissingError, match="vl-genrm eval policy"):
        write_card("policy", build)
    folder = build / "bench-policy" / "held-out"
    folder.mkdir(parents=True)
    exact = {"qa: exact": {"reasoning": SHARE}, "qa: exact by kind": {"count": SHARE}}
    sections = {**exact, "pope: mean": {"yes ratio": SHARE | {"value": 0.512}}}
    (folder / "report.json").write_text(json.dumps(REPORT | {"sections": sections}))
    card = write_card("policy", build)
    assert "| qa: exact, reasoning | 0.875 [0.800, 0.900] |" in card
    assert "| pope: mean, yes ratio | 0.512 [0.800, 0.900] |" in card
    assert "pocket:held-out?n=10&seed=0; value" in card
    assert "by kind" not in card


def test_a_policy_is_shipped_with_what_was_measured_of_its_statements_or_not_at_all(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "statements.json").write_text("{}")
    monkeypatch.setattr(ship, "policy_folder", lambda: shipped)
    monkeypatch.setattr(ship, "write_card", lambda *_: "A card.")
    (build / "policy").mkdir()
    (build / "policy" / "config.json").write_text("{}")
    with pytest.raises(ReportMissingError, match="pocket bench-statements"):
        ship.ship(build, names=("policy",))
    assert (shipped / "statements.json").exists()
    (build / "policy" / "statements.json").write_text('{"slope": 2}')
    ship.ship(build, names=("policy",))
    assert (shipped / "statements.json").read_text() == '{"slope": 2}'


def test_a_card_says_data_recipe_command_commit_and_metrics(build: Path) -> None:
    folder = build / "bench-judge" / "held-out-critique"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(REPORT))
    (build / "notes-judge.md").write_text("Run in two parts.")
    card = write_card("judge", build)
    for word in ("Data", "Recipe", "Command", "Commit", "Metrics"):
        assert f"## {word}\n" in card
    assert "| reasoning | 0.750 [0.800, 0.900] |" in card
    assert "| same judge, grey picture | 0.512 [0.800, 0.900] |" in card
    assert "| ECE | 0.023 [0.800, 0.900] |" in card
    assert "pocket:held-out?n=10&seed=0, both orders" in card
    assert '"pairs_for_ift": 4' in card
    assert "somewhere" not in card
    assert "Run in two parts." in card
