"""The direction of imports that `pyproject.toml` draws, and that its contracts would notice a breach."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("genrm", "experts", "service", "training", "pocket")
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True, cache_dir=None))"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False)


def test_packages_import_only_in_the_drawn_direction() -> None:
    answer = lint_imports(ROOT)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("service/breach.py", "training"),
        ("training/breach.py", "service"),
        ("experts/breach.py", "service"),
        ("genrm/breach.py", "experts"),
        ("training/breach.py", "pocket"),
        ("genrm/breach.py", "torch"),
        ("genrm/breach.py", "transformers"),
        ("genrm/breach.py", "fastapi"),
    ],
)
def test_an_import_against_the_direction_is_noticed(module: str, imported: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    (tmp_path / module).write_text(f'"""A breach."""\n\nimport {imported}\n', encoding="utf-8")
    answer = lint_imports(tmp_path)
    assert answer.returncode == 1
    assert f"{Path(module).with_suffix('').as_posix().replace('/', '.')} -> {imported}" in answer.stdout
