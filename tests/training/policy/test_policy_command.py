"""`vl-genrm eval policy` from the outside."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from training.eval_commands import app
from training.jobs.config import ConfigError

Rows = Sequence[dict[str, object]]
WriteRows = Callable[[Rows], str]
Install = Callable[..., Any]
RUNNER = CliRunner()


def test_a_policy_is_measured_and_set_beside_an_earlier_one(
    install: Install, write_rows: WriteRows, rows: Rows, tmp_path: Path
) -> None:
    source = write_rows(rows)
    options = [source, "--tasks", "qa, pope", "--pope-images", "4", "--limit", "12", "--seed", "3"]
    install(lambda question: "No, there is no dog.")
    first = RUNNER.invoke(app, ["policy", *options, "--output", str(tmp_path / "a")])
    assert first.exit_code == 0, first.output
    record = json.loads((tmp_path / "a" / "report.json").read_text())
    assert (record["settings"]["seed"], record["settings"]["limit"]) == (3, 12)
    assert record["settings"]["source"] == source
    assert record["sections"]["pope: random"]["yes ratio"]["value"] == 0.0
    assert not any(title.startswith("captions") for title in record["sections"])
    install(lambda question: "Yes.")
    compared = ["--compare", f"before={tmp_path / 'a'}", "--name", "later"]
    second = RUNNER.invoke(app, ["policy", *options, "--output", str(tmp_path / "b"), *compared])
    assert second.exit_code == 0, second.output
    assert "later - before" in second.output
    found = json.loads((tmp_path / "b" / "comparison" / "report.json").read_text())["sections"]["later - before"]
    assert found["pope: random: yes ratio"]["value"] == 1.0


@pytest.mark.parametrize("given", ["before", "=folder", "before=", "after=folder"])
def test_a_comparison_without_name_or_folder_is_wrong_usage(given: str, tmp_path: Path) -> None:
    answer = RUNNER.invoke(app, ["policy", "rows.jsonl", "--output", str(tmp_path), "--compare", given])
    assert answer.exit_code == 2
    assert "NAME=FOLDER" in answer.output


def test_an_unknown_task_is_refused_with_those_there_are(tmp_path: Path) -> None:
    answer = RUNNER.invoke(app, ["policy", "rows.jsonl", "--output", str(tmp_path), "--tasks", "qa,poems"])
    assert isinstance(answer.exception, ConfigError)
    assert "tasks" in str(answer.exception)
    assert "'pope'" in str(answer.exception)
