"""Works off the runs of a study, one or a few at a time, without supervision.

Every run is a process of its own, so that nothing leaks from one to the next and one that fails costs only itself. A
killed study goes on where it was: finished runs are skipped, and a run that was broken off resumes by its job's own
means.
"""

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
    queue = _Queue(config, runs, folder, launch, retry_failed=retry_failed)
    with ThreadPoolExecutor(config.num_parallel) as pool:
        try:
            for future in [pool.submit(queue.work_off, run) for run in runs]:
                future.result()
        except BaseException:  # Ctrl-C among them: the runs are stopped before we are
            queue.stop()
            pool.shutdown(cancel_futures=True)
            raise
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


def render_queue(config: StudyConfig, runs: Sequence[Run], folder: RunFolder) -> "Table":
    """Every run with its state and the time that it is expected to take."""
    from rich.table import Table

    left = _seconds_to_go(config, folder, runs)
    table = Table("run", "state", show_footer=True)
    table.columns[0].footer = "to go"
    table.add_column("time", justify="right", footer=format_seconds(left))
    for run in runs:
        table.add_row(run.name, _status(folder, run), format_seconds(_seconds(folder, runs, run)))
    return table


class _Queue:
    """Starts runs from several threads, of which one at a time reads and writes the study's folder."""

    def __init__(
        self, config: StudyConfig, runs: Sequence[Run], folder: RunFolder, launch: Sequence[str], *, retry_failed: bool
    ) -> None:
        self._config, self._runs, self._folder, self._launch = config, runs, folder, launch
        self._settled = {FINISHED} if retry_failed else {FINISHED, FAILED}
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._is_stopping = False

    def work_off(self, run: Run) -> None:
        """Run one to its end, unless it is settled, and rebuild the report."""
        number = self._runs.index(run) + 1
        place = f"[{number}/{len(self._runs)}] {run.name}"
        with self._lock:
            if _status(self._folder, run) in self._settled:
                return
        wait_until_free(run.folder, on_wait=partial(typer.echo, f"{place} is still at work; waiting for it"))
        with self._lock:
            left = _seconds_to_go(self._config, self._folder, self._runs)
            typer.echo(f"{place} starts, {format_seconds(left)} to go; log: {run.log}")
        started = time.monotonic()
        is_finished = self._run_process(run)
        seconds = time.monotonic() - started
        with self._lock:
            if self._is_stopping:
                return
            status = FINISHED if is_finished else FAILED
            self._folder.mark_done(run.name, {"status": status, "seconds": seconds})
            typer.echo(f"{place} {status} after {format_seconds(seconds)}")
            report(self._config, self._runs, self._folder)

    def stop(self) -> None:
        """Ask all processes to end; they are waited for by whoever started them."""
        with self._lock:
            self._is_stopping = True
            for process in self._processes:
                process.terminate()

    def _run_process(self, run: Run) -> bool:
        """Run a process to its end; whether it finished."""
        run.log.parent.mkdir(parents=True, exist_ok=True)
        with run.log.open("ab") as log:
            with self._lock:
                if self._is_stopping:
                    return False
                process = subprocess.Popen(  # noqa: S603 - our own command
                    [*self._launch, *run.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **_share_of_cores(self._config.num_parallel)},
                    start_new_session=True,  # Ctrl-C reaches it through us, once
                )
                self._processes.add(process)
            code = process.wait()
        with self._lock:
            self._processes.remove(process)
        return code == 0 and (run.folder / RESULT).exists()


def _share_of_cores(num_parallel: int) -> dict[str, str]:
    """Environment of a process that has so many siblings, itself included; nothing is said where it is alone."""
    if num_parallel == 1:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // num_parallel))}


def _status(folder: RunFolder, run: Run) -> str:
    return str(folder.result_of(run.name)["status"]) if folder.is_done(run.name) else WAITING


def _seconds_to_go(config: StudyConfig, folder: RunFolder, runs: Sequence[Run]) -> float:
    """Of all runs that are not settled, those that are at work counted in full."""
    return sum(_seconds(folder, runs, run) for run in runs) / config.num_parallel


def _seconds(folder: RunFolder, runs: Sequence[Run], run: Run) -> float:
    """What a run is expected to take: as long as its arm took with other seeds, or what its job plans. 0 if settled."""
    if folder.is_done(run.name):
        return 0.0
    twins = [twin.name for twin in runs if twin.arm == run.arm and _status(folder, twin) == FINISHED]
    return mean(folder.result_of(twin)["seconds"] for twin in twins) if twins else run.planned_seconds
