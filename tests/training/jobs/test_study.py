"""Studies: what is run, what a failure costs, how a killed one goes on, and what the report says."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from training.jobs.config import ConfigError
from training.jobs.files import read_json_lines
from training.jobs.study import StudyConfig, plan_runs
from training.jobs.study_report import combine, flatten_estimates, write_report
from training.jobs.study_runner import RunsFailedError
from training.statistics import Estimate

pytestmark = pytest.mark.usefixtures("tiny")
TARGETS = {"tiny": "tiny_job:JOB"}


def write_study(folder: Path, arms: dict[str, Any], **fields: object) -> Path:
    file = folder / "study.yaml"
    file.write_text(json.dumps({"output": str(folder / "study"), "job": "tiny", "arms": arms, **fields}))
    return file


def call(file: Path, *words: str) -> Result:
    return CliRunner().invoke(import_module("tiny_job").app, ["study", str(file), *words])


def num_starts(folder: Path, run: str) -> int:
    return len(json.loads((folder / "study" / "runs" / run / "environment.json").read_text()))


def plan(tmp_path: Path, **fields: Any) -> list[str]:
    config = StudyConfig(output=tmp_path, **{"job": "tiny", **fields})
    return [run.name for run in plan_runs(config, TARGETS)]


def test_every_arm_is_run_with_one_seed_before_the_next_seed(tmp_path: Path) -> None:
    names = plan(tmp_path, arms={"a": {}, "b": {}}, num_seeds=2, seed=3)
    assert names == ["a/seed-3", "b/seed-3", "a/seed-4", "b/seed-4"]


def test_an_arm_s_overrides_come_on_top_of_the_study_s(tmp_path: Path) -> None:
    config = StudyConfig.model_validate(
        {
            "output": tmp_path,
            "job": "tiny",
            "overrides": {"num_lines": 1, "accuracy": 0.1},
            "arms": {"a": {"overrides": {"num_lines": 2}}},
        }
    )
    [run] = plan_runs(config, TARGETS)
    folder = tmp_path / "runs" / "a" / "seed-0"
    assert run.arguments == (
        "tiny", "--set=num_lines=2", "--set=accuracy=0.1", f'--set=output="{folder}"', "--set=seed=0",
    )  # fmt: skip


def test_an_override_may_name_what_another_study_made_with_the_same_seed(tmp_path: Path) -> None:
    arm = {"overrides": {"needs": "rows/seed-{seed}/data"}}
    config = StudyConfig.model_validate(
        {"output": tmp_path, "job": "tiny", "arms": {"a": arm}, "seed": 2, "num_seeds": 2}
    )
    needed = [word for run in plan_runs(config, TARGETS) for word in run.arguments if "needs" in word]
    assert needed == ['--set=needs="rows/seed-2/data"', '--set=needs="rows/seed-3/data"']


def test_a_mistake_in_any_arm_is_found_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Arm 'b': .*num_line'; did you mean 'num_lines'\?"):
        plan(tmp_path, arms={"a": {}, "b": {"overrides": {"num_line": 1}}})
    with pytest.raises(ConfigError, match=r"Arm 'a' has the job 'tinny'\. Known are tiny"):
        plan(tmp_path, arms={"a": {"job": "tinny"}})
    with pytest.raises(ValueError, match="should match pattern"):
        plan(tmp_path, arms={"../a": {}})


def test_a_dry_run_shows_the_queue_and_the_time_to_go(tmp_path: Path) -> None:
    answer = call(write_study(tmp_path, {"a": {}, "b": {}}, num_seeds=2), "--dry-run")
    assert answer.exit_code == 0, answer.output
    rows = [[word.strip() for word in line.split("│")[1:4]] for line in answer.output.splitlines() if "│" in line]
    assert rows[0] == ["a/seed-0", "waiting", "2 min"]
    assert rows[-1] == ["to go", "", "8 min"]
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_an_arm_that_fails_costs_only_itself_and_is_retried_when_asked(tmp_path: Path) -> None:
    needed = tmp_path / "needed"
    arms = {"bad": {"overrides": {"needs": str(needed)}}, "good": {"overrides": {"accuracy": 0.8}}}
    file = write_study(tmp_path, arms, num_seeds=1)
    answer = call(file)
    assert isinstance(answer.exception, RunsFailedError)
    assert f"1 of 2 runs failed: bad/seed-0 ({tmp_path / 'study/logs/bad-seed-0.log'})" in str(answer.exception)
    assert "RuntimeError: no" in (tmp_path / "study/logs/bad-seed-0.log").read_text()
    table = (tmp_path / "study/results.md").read_text()
    assert "| good | 1 | 0.8 [0.7, 1] |" in table
    assert "Not in this table: bad/seed-0 (failed)." in table
    assert (tmp_path / "study/plots/accuracy.png").stat().st_size > 1000

    assert isinstance(call(file).exception, RunsFailedError)
    assert (num_starts(tmp_path, "bad/seed-0"), num_starts(tmp_path, "good/seed-0")) == (1, 1)

    needed.touch()
    assert call(file, "--retry-failed").exit_code == 0
    assert (num_starts(tmp_path, "bad/seed-0"), num_starts(tmp_path, "good/seed-0")) == (2, 1)
    assert "| bad | 1 | 0.5 [0.4, 1] |" in (tmp_path / "study/results.md").read_text()


@pytest.mark.slow
def test_a_study_may_grow_but_not_change_what_is_finished(tmp_path: Path) -> None:
    arms: dict[str, Any] = {"good": {"overrides": {"accuracy": 0.8}}}
    assert call(write_study(tmp_path, arms)).exit_code == 0
    file = write_study(tmp_path, {**arms, "other": {}}, num_seeds=2)
    assert call(file).exit_code == 0
    assert num_starts(tmp_path, "good/seed-0") == 1
    results = json.loads((tmp_path / "study/results.json").read_text())
    assert results["arms"]["good"]["accuracy.general"]["by_seed"] == {"0": 0.8, "1": 0.81}
    assert results["missing"] == []

    (tmp_path / "study/results.md").unlink()
    assert call(file, "--report-only").exit_code == 0
    assert "| good | 2 | 0.805 [" in (tmp_path / "study/results.md").read_text()

    changed = call(write_study(tmp_path, {"good": {"overrides": {"accuracy": 0.9}}}))
    assert isinstance(changed.exception, ConfigError)
    assert "Arm 'good': " in str(changed.exception)
    assert "accuracy was 0.8 and is now 0.9" in str(changed.exception)


def start_slow_study(tiny_command: Sequence[str], tmp_path: Path) -> "subprocess.Popen[str]":
    """A study of two arms whose first run has begun to write."""
    file = write_study(tmp_path, {"a": {}, "b": {}}, overrides={"seconds_per_line": 0.1, "num_lines": 20})
    study = subprocess.Popen([*tiny_command, "study", str(file)], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "study/runs/a/seed-0/lines.jsonl").exists():
        time.sleep(0.01)
    return study


def assert_complete(tmp_path: Path) -> None:
    tiny = import_module("tiny_job")
    for arm in ("a", "b"):
        written = list(read_json_lines(tmp_path / "study/runs" / arm / "seed-0/lines.jsonl"))
        assert written == tiny.expected_lines(tiny.TinyConfig(output=tmp_path, num_lines=20))
    assert "| b | 1 | 0.5 [0.4, 1] |" in (tmp_path / "study/results.md").read_text()


@pytest.mark.slow
def test_a_stop_is_passed_on_to_the_run_and_both_go_on_later(tiny_command: Sequence[str], tmp_path: Path) -> None:
    study = start_slow_study(tiny_command, tmp_path)
    study.terminate()
    _, complaint = study.communicate()
    assert study.returncode == 128 + signal.SIGTERM
    assert complaint == "Stopped. Run the same command to go on.\n"
    assert (tmp_path / "study/logs/a-seed-0.log").read_text() == complaint
    file = write_study(tmp_path, {"a": {}, "b": {}}, overrides={"num_lines": 20})
    assert call(file).exit_code == 0
    assert_complete(tmp_path)


@pytest.mark.slow
def test_runs_side_by_side_share_the_cores_and_are_all_stopped(tiny_command: Sequence[str], tmp_path: Path) -> None:
    arms: dict[str, Any] = {"a": {}, "b": {}}
    file = write_study(tmp_path, arms, num_parallel=2, overrides={"seconds_per_line": 0.1, "num_lines": 20})
    study = subprocess.Popen([*tiny_command, "study", str(file)], stderr=subprocess.PIPE, text=True)
    runs = [tmp_path / "study/runs" / arm / "seed-0" for arm in arms]
    while not all((run / "lines.jsonl").exists() for run in runs):
        time.sleep(0.01)
        assert study.poll() is None
    [one, other] = [json.loads((run / "pid.json").read_text()) for run in runs]
    cores = max(1, (os.cpu_count() or 1) // 2)
    assert f"OMP_NUM_THREADS={cores}".encode() in Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
    study.terminate()
    study.communicate()
    assert study.returncode == 128 + signal.SIGTERM
    assert not any(Path(f"/proc/{pid}").exists() for pid in (one, other))
    assert not (tmp_path / "study/results.md").exists()  # a run that was stopped has not failed
    file = write_study(tmp_path, arms, num_parallel=2, overrides={"num_lines": 20})
    assert call(file).exit_code == 0
    assert_complete(tmp_path)


@pytest.mark.slow
def test_a_run_that_outlived_its_killed_study_is_waited_for(tiny_command: Sequence[str], tmp_path: Path) -> None:
    study = start_slow_study(tiny_command, tmp_path)
    pid = json.loads((tmp_path / "study/runs/a/seed-0/pid.json").read_text())
    os.kill(pid, signal.SIGSTOP)
    study.kill()
    study.communicate()
    file = write_study(tmp_path, {"a": {}, "b": {}}, overrides={"num_lines": 20})
    command = [*tiny_command, "study", str(file)]
    again = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert again.stdout is not None
    assert again.stdout.readline() == "[1/2] a/seed-0 is still at work; waiting for it\n"
    os.kill(pid, signal.SIGCONT)
    again.communicate()
    assert again.returncode == 0
    assert_complete(tmp_path)


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.05, high=value + 0.05, num=100)


def test_several_seeds_give_their_mean_and_a_t_interval() -> None:
    """With 2 degrees of freedom the two-sided 95 % quantile of t is 4.302653."""
    values = [0.80, 0.84, 0.85]
    found = combine({seed: estimate(value) for seed, value in enumerate(values)})
    half = 4.302653 * stdev(values) / 3**0.5
    assert found["value"] == pytest.approx(0.83)
    assert (found["low"], found["high"]) == pytest.approx((0.83 - half, 0.83 + half))
    assert found["num"] == 3
    assert found["by_seed"] == {"0": 0.80, "1": 0.84, "2": 0.85}


def test_the_interval_of_a_share_over_seeds_ends_at_1_and_that_of_other_figures_does_not() -> None:
    def with_interval(value: float, low: float, high: float) -> Estimate:
        return Estimate(value=value, low=low, high=high, num=100)

    high = combine({0: with_interval(0.97, 0.92, 0.99), 1: with_interval(0.99, 0.95, 1.0)})
    assert high["low"] == pytest.approx(0.98 - 12.7062 * 0.01, abs=1e-4)
    assert high["high"] == 1.0
    low = {0: with_interval(0.01, 0.0, 0.05), 1: with_interval(0.03, 0.01, 0.08)}
    assert combine(low)["low"] == 0.0
    assert combine(low, lowest=-1.0)["low"] == pytest.approx(0.02 - 12.7062 * 0.01, abs=1e-4)
    words = combine({0: with_interval(0.9, 0.8, 1.1), 1: with_interval(0.99, 0.9, 1.2)})
    assert words["high"] > 1.4


def test_a_figure_that_rests_on_fewer_seeds_than_its_arm_says_so(tmp_path: Path) -> None:
    config = StudyConfig(output=tmp_path, job="tiny", arms={"a": {}}, num_seeds=2, metrics=["*"])
    runs = plan_runs(config, TARGETS)
    for run, figures in zip(runs, ({"x": estimate(0.5), "y": estimate(0.5)}, {"x": estimate(0.5)}), strict=True):
        run.folder.mkdir(parents=True)
        (run.folder / "result.json").write_text(json.dumps(figures))
    write_report(config, runs, missing=[])
    assert "| a | 2 | 0.5 [0.5, 0.5] | 0.5 [0.45, 0.55] (1 seed) |" in (tmp_path / "results.md").read_text()


def test_one_seed_keeps_the_interval_of_its_run() -> None:
    found = combine({7: estimate(0.8)})
    assert (found["low"], found["high"]) == pytest.approx((0.75, 0.85))
    assert found["num"] == 100


def test_estimates_are_found_at_any_depth_and_those_of_nothing_left_out() -> None:
    nested = {"a": estimate(0.5), "by": {"x": estimate(0.6), "empty": {**estimate(0.0), "value": float("nan")}}, "n": 3}
    assert dict(flatten_estimates(nested)) == {"a": estimate(0.5), "by.x": estimate(0.6)}
