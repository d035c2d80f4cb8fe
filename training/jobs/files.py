"""Files that survive a kill at any moment: whole or not there, and lines that are complete.

A file is written beside its place and put there in one step. A line is appended in one go; a kill in the middle leaves
a torn last line, which readers leave out and the next append cuts off. A full disk is an error that names the file and
leaves what was there before.
"""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from genrm.errors import GenRMError

_FULL = {errno.ENOSPC, errno.EDQUOT}


class DiskFullError(GenRMError, OSError):
    """There is no space left to write a file; its earlier contents are intact. Make space and run the command again."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file to write that takes the place of `path` when the block ends well.

    Yields the path to write to; it has the suffixes of `path`. Raises DiskFullError; then, as after any error in the
    block, `path` is what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".new-{path.name}")
    try:
        with naming_full_disk(path):
            yield new
            with new.open("rb+") as file:
                os.fsync(file.fileno())
            new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """The value of a JSON file; None if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def append_json_line(path: Path, row: object) -> None:
    """Append one line of JSON; it is with the operating system when this returns. Raises DiskFullError."""
    line = (json.dumps(row) + "\n").encode()
    with path.open("ab+", buffering=0) as file:
        end = _cut_torn_line(file)
        try:
            with naming_full_disk(path):
                while line:
                    line = line[file.write(line) :]
        except OSError:
            file.truncate(end)
            raise


def read_json_lines(path: Path) -> Iterator[Any]:
    """The values of all complete lines; none if there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn the system's complaint about a full disk, or a full quota, into one that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(
            f"No space is left to write {path}; what was finished before is intact. Make space, then run the same "
            "command to go on."
        ) from error


def _cut_torn_line(file: FileIO) -> int:
    """Shorten a file to its complete lines; return its length in bytes."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            end = file.readall().rfind(b"\n") + 1
            file.truncate(end)
    return end
