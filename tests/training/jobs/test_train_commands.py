"""`vl-genrm train`: all jobs are called, refused and stopped alike."""

import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from training.jobs.config import ConfigError
from training.train_commands import JOBS, LAUNCH, JobEntry, MissingLibraryError, build_app


def test_every_job_of_the_command_line_can_be_imported() -> None:
    from training.jobs.job import load_job

    for entry in JOBS.values():
        assert load_job(entry.target).schema.model_fields


def test_a_dry_run_prints_the_plan_and_writes_nothing(tiny: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"output: {tmp_path / 'run'}\n")
    answer = CliRunner().invoke(tiny.app, ["tiny", str(file), "--set", "num_lines=7", "--dry-run"])
    assert answer.exit_code == 0
    assert "7 lines" in answer.output
    assert "2 min" in answer.output
    assert not (tmp_path / "run").exists()


def test_a_typing_error_in_a_key_is_a_refusal_before_anything_is_written(tiny: ModuleType, tmp_path: Path) -> None:
    answer = CliRunner().invoke(tiny.app, ["tiny", f"--set=output={tmp_path / 'run'}", "--set=num_line=7"])
    assert isinstance(answer.exception, ConfigError)
    assert "did you mean 'num_lines'?" in str(answer.exception)
    assert not (tmp_path / "run").exists()


def test_a_missing_library_is_answered_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "eager_job.py").write_text("import no_such_library.part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = build_app({"eager": JobEntry(target="eager_job:JOB", summary="Fail.")})
    answer = CliRunner().invoke(app, ["eager"])
    assert isinstance(answer.exception, MissingLibraryError)
    assert "'no_such_library'" in str(answer.exception)
    assert "vl-genrm[train]" in str(answer.exception)


def test_a_job_leaves_the_stop_signal_as_it_was(tiny: ModuleType, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert CliRunner().invoke(tiny.app, ["tiny", f"--set=output={tmp_path}"]).exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_study_starts_is_this_family_of_commands() -> None:
    answer = subprocess.run([*LAUNCH, "--help"], capture_output=True, text=True, check=True)
    assert [name for name in (*JOBS, "study") if name not in answer.stdout] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_job_says_how_to_go_on_and_does(
    number: signal.Signals, tiny: ModuleType, tiny_command: list[str], tmp_path: Path
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as shells arrange for background jobs, and children inherit that")
    command = [*tiny_command, "tiny", f"--set=output={tmp_path}", "--set=num_lines=50"]
    slow = subprocess.Popen([*command, "--set=seconds_per_line=0.1"], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / tiny.LINES).exists():
        time.sleep(0.01)
    slow.send_signal(number)
    _, complaint = slow.communicate()
    assert slow.returncode == 128 + number
    assert complaint == "Stopped. Run the same command to go on.\n"
    assert (tmp_path / tiny.LINES).read_bytes().endswith(b"\n")
    subprocess.run(command, check=True)
    assert (tmp_path / tiny.LINES).read_bytes().count(b"\n") == 100
