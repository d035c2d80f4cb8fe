"""`vl-genrm eval …` and `vl-genrm calibrate` from the outside."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import training.evaluation.judges
from genrm.engines.fake import FakeEngine
from genrm.shipped import judge_folder
from pocket.sample_files import SAMPLES
from training.eval_commands import app, calibrate
from training.evaluation.judges import JudgeChoice, LocalJudge

RUNNER = CliRunner()


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[JudgeChoice]:
    """What was chosen to judge; a fake engine does it."""
    choices: list[JudgeChoice] = []

    def open_fake(choice: JudgeChoice) -> LocalJudge:
        choices.append(choice)
        return LocalJudge(FakeEngine())

    monkeypatch.setattr(training.evaluation.judges, "open_judge", open_fake)
    return choices


@pytest.mark.parametrize("command", ["vlrewardbench", "hallucination", "audit"])
def test_every_command_writes_its_report(
    command: str, chosen: list[JudgeChoice], rows_file: Path, tmp_path: Path
) -> None:
    options = ["--allow-subset"] if command == "vlrewardbench" else []
    arguments = [command, str(rows_file), "--output", str(tmp_path / "out"), "--limit", "12", "--seed", "3", *options]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (record["settings"]["seed"], record["settings"]["limit"]) == (3, 12)
    assert record["title"] in result.output
    assert chosen[0].with_experts == (command == "hallucination")


def test_best_of_n_runs_on_the_pocket_world(chosen: list[JudgeChoice], tmp_path: Path) -> None:
    source = "pocket:dev?n=2&candidates=4"
    arguments = ["best-of-n", source, "--images", "none", "--output", str(tmp_path), "--strategy", "knockout"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "quality, N = 4" in result.output
    assert "all_pairs" not in result.output


def test_calibrate_saves_beside_the_adapter(chosen: list[JudgeChoice], rows_file: Path, tmp_path: Path) -> None:
    root = typer.Typer()
    root.command()(calibrate)
    (tmp_path / "adapter").mkdir()
    arguments = [str(rows_file), "--output", str(tmp_path / "out"), "--adapter", str(tmp_path / "adapter")]
    result = RUNNER.invoke(root, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "adapter" / "calibration.json").is_file()
    assert not chosen[0].use_calibration
    assert not (judge_folder() / "calibration.json").is_file() or "adapter" in result.output


def test_published_outputs_need_no_judge(rows_file: Path, tmp_path: Path) -> None:
    row = json.loads(rows_file.read_text().splitlines()[0])
    outputs = tmp_path / "outputs.jsonl"
    outputs.write_text(json.dumps(row | {"meta": {"random_number": 0, "filter_number": 1}}) + "\n")
    arguments = [
        "vlrewardbench",
        str(rows_file),
        "--outputs",
        str(outputs),
        "--allow-subset",
        "--output",
        str(tmp_path),
    ]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "published outputs" in result.output


def test_options_that_contradict_each_other_are_wrong_usage(rows_file: Path, tmp_path: Path) -> None:
    arguments = ["audit", str(rows_file), "--output", str(tmp_path), "--url", "http://x", "--model", "m"]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2
    assert "no effect on a running service" in result.output.replace("\n", " ")


@pytest.mark.slow
def test_the_shipped_judge_is_measured_on_the_shipped_samples(tmp_path: Path) -> None:
    arguments = [
        "vlrewardbench",
        str(SAMPLES / "rows.jsonl"),
        "--allow-subset",
        "--text-only",
        "--output",
        str(tmp_path),
    ]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "report.json").read_text())
    both, blind = (
        record["sections"][name]["overall (micro)"]
        for name in ("verdict over both orders", "baseline: same judge, grey picture")
    )
    assert both["num"] == blind["num"] == 12
    assert both["value"] >= 0.7
    assert both["value"] > blind["value"]
