"""`vl-genrm keys new`: a key, its line, and that the two fit."""

from __future__ import annotations

import tomllib
from pathlib import Path

from typer.testing import CliRunner

from service.errors import StartError
from service.key_commands import app
from service.keys import KeyLimits, find_key, read_key_file

ROOT = Path(__file__).parents[2]


def test_a_new_key_fits_its_line(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["new", "alice"])
    assert answer.exit_code == 0
    key, line = answer.stdout.splitlines()
    (tmp_path / "keys.txt").write_text(line)
    found = find_key(read_key_file(tmp_path / "keys.txt", KeyLimits()), key)
    assert found is not None
    assert found.name == "alice"
    assert key not in line


def test_no_two_keys_are_the_same() -> None:
    assert len({CliRunner().invoke(app, ["new", "alice"]).stdout for _ in range(3)}) == 3


def test_a_name_that_would_break_the_file_is_refused() -> None:
    assert isinstance(CliRunner().invoke(app, ["new", "a:b"]).exception, StartError)


def test_the_command_line_announces_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["vl_genrm.commands"]["keys"] == "service.key_commands:app"
