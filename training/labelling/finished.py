"""Notes of finished shards, by processes that do not hold the run folder.

Only the process that holds a run folder writes its state. A worker elsewhere, once the files of a shard are written,
leaves a note beside them, in one step. Whoever opens the folder next takes such notes over, so a shard whose note is
there is never judged again, also if the process that waited for it is gone.

    finished/rows-….json      who judged, and what became of the rows
    finished/rows-….begun     a line per attempt, so that rows which end whoever judges them are found out
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.jobs.files import append_json_line, read_json, read_json_lines, write_json
from training.jobs.run_folder import RunFolder, name_shard

JUDGE = "judge"
"""The step of the run folder whose result says who judges."""
_NOTES = "finished"


def note_finished(output: Path, start: int, note: Mapping[str, Any]) -> None:
    """Leave the note of a shard whose files are written. note: `judge` and `fates`, ready for JSON."""
    write_json(output / _NOTES / f"{name_shard(start)}.json", dict(note))


def read_note(output: Path, start: int) -> Any:  # noqa: ANN401 - what `note_finished` was given
    """The note of a shard; None if it is not finished."""
    return read_json(output / _NOTES / f"{name_shard(start)}.json")


def count_attempt(output: Path, start: int) -> int:
    """Note that a shard is begun; how often it was since the folder was opened, this time included."""
    path = output / _NOTES / f"{name_shard(start)}.begun"
    path.parent.mkdir(parents=True, exist_ok=True)
    append_json_line(path, None)
    return sum(1 for _ in read_json_lines(path))


def adopt_finished(folder: RunFolder) -> None:
    """Mark shards with a note as done. Those of another judge than the folder's are left to be judged again.

    Attempts are forgotten: whoever opened the folder before may have ended them.
    """
    for path in (folder.path / _NOTES).glob("rows-*.begun"):
        path.unlink()
    for path in sorted((folder.path / _NOTES).glob("rows-*.json")):
        note = read_json(path)
        if not folder.is_done(JUDGE):
            folder.mark_done(JUDGE, note["judge"])
        if folder.result_of(JUDGE) == note["judge"] and not folder.is_done(path.stem):
            folder.mark_done(path.stem, note["fates"])


def drop_notes(folder: RunFolder) -> None:
    """Delete all notes: the folder's state has what they say."""
    shutil.rmtree(folder.path / _NOTES, ignore_errors=True)
