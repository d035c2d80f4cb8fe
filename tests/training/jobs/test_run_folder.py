"""The folder of a run: what it holds, who may use it, and what a kill leaves."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from training.jobs.config import ConfigError, JobConfig, Section
from training.jobs.files import read_json_lines
from training.jobs.run_folder import ConfigChangedError, FolderInUseError, RunFolder, wait_until_free


class Lora(Section):
    """A section."""

    rank: int = 8


class Config(JobConfig):
    """Settings of a job."""

    lora: Lora | None = Lora()


def open_folder(path: Path, **changes: object) -> RunFolder:
    return RunFolder.open(path, Config.model_validate({"output": path, **changes}))


def test_a_folder_says_how_and_where_its_run_was_started(tmp_path: Path) -> None:
    for _ in range(2):
        open_folder(tmp_path / "run", seed=5).close()
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config == {"output": str(tmp_path / "run"), "seed": 5, "lora": {"rank": 8}}
    starts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert [start["seed"] for start in starts] == [5, 5]


def test_a_step_that_is_done_stays_done_with_its_result(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        assert not folder.is_done("sample")
        folder.mark_done("sample", {"kept": 12})
        folder.mark_done("train")
    with open_folder(tmp_path) as folder:
        assert folder.is_done("sample")
        assert folder.result_of("sample") == {"kept": 12}
        assert folder.result_of("train") is None
        with pytest.raises(KeyError):
            folder.result_of("evaluate")


def test_work_is_not_continued_with_other_settings(tmp_path: Path) -> None:
    with open_folder(tmp_path, lora={"rank": 8}) as folder:
        folder.mark_done("sample")
    with pytest.raises(ConfigChangedError) as caught:
        open_folder(tmp_path, lora={"rank": 16}, seed=1)
    assert "lora.rank was 8 and is now 16; seed was 0 and is now 1" in str(caught.value)
    assert "choose another output folder" in str(caught.value)
    open_folder(tmp_path).close()


def test_a_folder_from_before_a_setting_existed_goes_on_with_its_default(tmp_path: Path) -> None:
    with open_folder(tmp_path / "run") as run:
        run.mark_done("first")
    file = tmp_path / "run" / "config.yaml"
    file.write_text(yaml.safe_dump({"output": str(tmp_path / "run"), "seed": 0, "lora": {}}))
    open_folder(tmp_path / "run").close()
    file.write_text(yaml.safe_dump({"output": str(tmp_path / "run"), "seed": 0, "lora": {}}))
    with pytest.raises(ConfigChangedError, match=r"lora\.rank was 8 and is now 16"):
        open_folder(tmp_path / "run", lora={"rank": 16})


def test_a_section_that_was_closed_since_is_a_change(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.mark_done("sample")
    with pytest.raises(ConfigChangedError, match="lora was 'not set' and is now None"):
        open_folder(tmp_path, lora=None)


def test_a_folder_may_be_moved(tmp_path: Path) -> None:
    with open_folder(tmp_path / "old") as folder:
        folder.mark_done("sample")
    (tmp_path / "old").rename(tmp_path / "new")
    with open_folder(tmp_path / "new") as folder:
        assert folder.is_done("sample")


def test_a_run_that_wrote_nothing_may_start_anew_with_other_settings(tmp_path: Path) -> None:
    open_folder(tmp_path, seed=1).close()
    open_folder(tmp_path, seed=2).close()
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seed"] == 2


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    with open_folder(tmp_path):
        with pytest.raises(FolderInUseError, match="Another process works in"):
            open_folder(tmp_path)
        waits: list[str] = []
        with pytest.raises(ZeroDivisionError):  # what `on_wait` raises, instead of waiting for ever
            wait_until_free(tmp_path, on_wait=lambda: waits.append(str(1 // 0)))
    wait_until_free(tmp_path, on_wait=lambda: waits.append("waited"))
    wait_until_free(tmp_path / "nowhere", on_wait=lambda: waits.append("waited"))
    assert waits == []
    open_folder(tmp_path).close()


def test_a_refused_folder_is_free_for_others(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("no mapping")
    (tmp_path / "something").touch()
    for _ in range(2):
        with pytest.raises(ConfigError, match="holds 'no mapping'"):
            open_folder(tmp_path)


def test_a_file_in_the_folder_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        open_folder(tmp_path / "file")


def test_only_the_first_process_of_several_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_folder(tmp_path) as first:
        monkeypatch.setenv("RANK", "1")
        with open_folder(tmp_path) as second:
            second.mark_done("sample")
            second.append_line("rows.jsonl", 1)
            second.log_metrics(1, {"loss": 0.5})
            assert not second.is_done("sample")
            first.mark_done("sample")
            assert second.is_done("sample")
    assert not (tmp_path / "rows.jsonl").exists()
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.slow
def test_metrics_are_kept_as_lines_and_for_tensorboard(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.log_metrics(10, {"loss": 2.0, "rate": 0.1})
        folder.log_metrics(20, {"loss": 1.0})
    with open_folder(tmp_path) as folder:  # resumed from a checkpoint at step 10
        folder.log_metrics(20, {"loss": 1.5})
        assert folder.read_metrics() == {"loss": {10: 2.0, 20: 1.5}, "rate": {10: 0.1}}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")][:2] == [(10, 2.0), (20, 1.0)]


@pytest.mark.slow
def test_a_job_killed_five_times_ends_as_an_unbroken_one(
    tiny: ModuleType, tiny_command: list[str], tmp_path: Path
) -> None:
    config = tiny.TinyConfig(output=tmp_path / "run", num_lines=100)
    command = [*tiny_command, "tiny", f"--set=output={config.output}", "--set=num_lines=100"]
    lines, rng = config.output / tiny.LINES, random.Random(0)
    for _ in range(5):
        before = lines.stat().st_size if lines.exists() else 0
        process = subprocess.Popen([*command, "--set=seconds_per_line=0.02"])
        while process.poll() is None and (not lines.exists() or lines.stat().st_size == before):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert lines.read_bytes().count(b"\n") < len(tiny.expected_lines(config))
    subprocess.run(command, check=True)
    assert list(read_json_lines(lines)) == tiny.expected_lines(config)
    assert json.loads((config.output / "result.json").read_text())["accuracy"]["general"]["value"] == 0.5
