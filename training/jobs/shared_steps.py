"""Steps that several runs have in common, done once: the arms of a study often differ in their last step only.

A finished step is copied to a shared folder under a key that says all that it depends on; a run that needs a step with
the same key takes the copy. Of runs that need it at the same time, one works and the others wait. Files are linked
where the file system can: finished steps do not change.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from training.jobs.run_folder import LOCK


def do_once(shared: Path | None, name: str, key: object, folder: Path, work: Callable[[], object]) -> None:
    """Have the step's folder filled: by `work`, or with what another run's work with the same key left.

    shared: None does the work. key: JSON-ready; all that the step's result depends on. A folder that a killed run left
    unfinished is replaced if meanwhile another run has finished the step.
    """
    if shared is None:
        work()
        return
    text = json.dumps(key, sort_keys=True, default=str)
    place = shared / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    shared.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if place.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _copy(place, folder)
            return
        work()
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _copy(folder, unfinished)
        unfinished.rename(place)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_link_or_copy, ignore=shutil.ignore_patterns(LOCK))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
