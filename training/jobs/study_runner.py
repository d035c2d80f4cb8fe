"""Works off the runs of a study one after the other, without supervision.

Every run is a process of its own, so that nothing leaks from one to the next and one that fails costs only itself. A
killed study goes on where it was: finished runs are skipped, and a run that was broken off resumes by its job's own
means.
"""

import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from statistics import mean
from typing import TYPE_CHECKING

import typer

from genrm.errors import GenRMError
from training.jobs.plan import format_seconds
from training.jobs.run_folder import RESULT, RunFolder, wait_until_free
from training.jobs.study import Run, StudyConfig
from training.jobs.study_report import write_report

if TYPE_CHECKING:
    from rich.table import Table

FINISHED, FAILED, WAITING = "finished", "failed", "waiting"


class RunsFailedError(GenRMError, RuntimeError):
    """Runs of a study failed; the report has the others. Read their logs, mend the cause, and retry them."""


def run_study(
    config: StudyConfig, runs: Sequence[Run], folder: RunFolder, launch: Sequence[str], *, retry_failed: bool
) -> None:
    """Start what is not finished, and rebuild the report after every run.

    launch: the command line that a run's arguments are appended to. Raises RunsFailedError at the end if a run failed.
    """
    for number, run in enumerate(runs, 1):
        if _status(folder, run) in (FINISHED, None if retry_failed else FAILED):
            continue
        place = f"[{number}/{len(runs)}] {run.name}"
        wait_until_free(run.folder, on_wait=partial(typer.echo, f"{place} is still at work; waiting for it"))
        left = sum(_seconds(folder, runs, later) for later in runs[number - 1 :])
        typer.echo(f"{place} starts, {format_seconds(left)} to go; log: {run.log}")
        status, seconds = _work(run, launch)
        folder.mark_done(run.name, {"status": status, "seconds": seconds})
        typer.echo(f"{place} {status} after {format_seconds(seconds)}")
        report(config, runs, folder)
    report(config, runs, folder)
    failed = [f"{run.name} ({run.log})" for run in runs if _status(folder, run) == FAILED]
    if failed:
        raise RunsFailedError(
            f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}. The report has the others. Mend the "
            "cause, then run the same command with --retry-failed."
        )


def report(config: StudyConfig, runs: Sequence[Run], folder: RunFolder) -> None:
    """Rebuild tables and plots from the runs that are finished."""
    finished = [run for run in runs if _status(folder, run) == FINISHED]
    write_report(
        config, finished, missing=[f"{run.name} ({_status(folder, run)})" for run in runs if run not in finished]
    )


def render_queue(runs: Sequence[Run], folder: RunFolder) -> "Table":
    """Every run with its state and the time that it is expected to take."""
    from rich.table import Table

    left = sum(_seconds(folder, runs, run) for run in runs)
    table = Table("run", "state", show_footer=True)
    table.columns[0].footer = "to go"
    table.add_column("time", justify="right", footer=format_seconds(left))
    for run in runs:
        table.add_row(run.name, _status(folder, run), format_seconds(_seconds(folder, runs, run)))
    return table


def _work(run: Run, launch: Sequence[str]) -> tuple[str, float]:
    """Run a process to its end; whether it finished, and the seconds that it took. It is stopped before we are."""
    started = time.monotonic()
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*launch, *run.arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C reaches it through us, once
        )
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    is_finished = code == 0 and (run.folder / RESULT).exists()
    return FINISHED if is_finished else FAILED, time.monotonic() - started


def _status(folder: RunFolder, run: Run) -> str:
    return str(folder.result_of(run.name)["status"]) if folder.is_done(run.name) else WAITING


def _seconds(folder: RunFolder, runs: Sequence[Run], run: Run) -> float:
    """What a run is expected to take: as long as its arm took with other seeds, or what its job plans. 0 if settled."""
    if folder.is_done(run.name):
        return 0.0
    twins = [twin.name for twin in runs if twin.arm == run.arm and _status(folder, twin) == FINISHED]
    return mean(folder.result_of(twin)["seconds"] for twin in twins) if twins else run.planned_seconds
