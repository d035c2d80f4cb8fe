"""Where a job ran, as its folder remembers it."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

from training.jobs.environment import describe_environment


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_versions_and_machine_are_recorded_as_json() -> None:
    found = json.loads(json.dumps(describe_environment()))
    assert found["vl-genrm"] == version("vl-genrm")
    assert found["libraries"]["torch"] == version("torch")
    assert found["num_cpus"] >= 1
    assert found["cpu"]


def test_the_commit_is_that_of_the_checkout_that_tracks_the_code(tmp_path: Path) -> None:
    source = tmp_path / "package" / "module.py"
    source.parent.mkdir()
    source.write_text("a = 1\n")
    git(tmp_path, "init", "--quiet")
    assert describe_environment(source)["commit"] is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    (tmp_path / "output.json").touch()
    found = describe_environment(source)
    assert (found["commit"], found["dirty"]) == (git(tmp_path, "rev-parse", "HEAD"), False)
    (tmp_path / "new.py").touch()
    assert describe_environment(source)["dirty"] is True
    (tmp_path / "new.py").unlink()
    source.write_text("a = 2\n")
    assert describe_environment(source)["dirty"] is True


def test_somebody_else_s_repository_around_the_package_is_not_ours(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "first")
    (tmp_path / "installed.py").touch()
    found = describe_environment(tmp_path / "installed.py")
    assert (found["commit"], found["dirty"]) == (None, None)
