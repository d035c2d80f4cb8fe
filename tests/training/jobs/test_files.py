"""Files after a kill and on a full disk: whole or as before, and lines that are complete."""

import contextlib
import errno
import os
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.jobs.files import DiskFullError, append_json_line, read_json, read_json_lines, replacing, write_json


class AlmostFullDisk(FileIO):
    """Takes five bytes of a write, then has no space left."""

    def write(self, data: Any) -> int:
        super().write(bytes(data)[:5])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_that_is_not_there_has_no_value(tmp_path: Path) -> None:
    assert read_json(tmp_path / "a.json") is None
    assert list(read_json_lines(tmp_path / "a.jsonl")) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    with contextlib.suppress(KeyboardInterrupt), replacing(tmp_path / "a.json") as new:
        new.write_text("half")
        raise KeyboardInterrupt
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@given(rows=st.lists(st.dictionaries(st.text(), st.text(), max_size=2), max_size=4), num_bytes=st.integers(0, 200))
def test_a_line_that_a_kill_tore_is_left_out_and_cut_off(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], num_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "torn.jsonl"
    path.unlink(missing_ok=True)
    for row in rows:
        append_json_line(path, row)
    whole = path.read_bytes() if rows else b""
    path.write_bytes(whole[: len(whole) - min(num_bytes, len(whole))])
    left = list(read_json_lines(path))
    assert left == rows[: len(left)]
    append_json_line(path, {"next": "\ud800"})
    assert list(read_json_lines(path)) == [*left, {"next": "\ud800"}]


def test_a_full_disk_leaves_the_lines_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    append_json_line(path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode, buffering: AlmostFullDisk(self, mode))
        with pytest.raises(DiskFullError, match=r"write .*rows\.jsonl.*Make space"):
            append_json_line(path, 2)
    assert path.read_bytes() == b"1\n"


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    write_json(tmp_path / "a.json", 1)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskFullError, match=r"write .*a\.json.*Make space"):
        write_json(tmp_path / "a.json", 2)
    assert read_json(tmp_path / "a.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_other_errors_of_the_system_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        append_json_line(tmp_path, 1)
