"""`vl-genrm train …`: the offline jobs, all called alike, and studies of many runs.

    vl-genrm train JOB CONFIG --set key=value --set section.key=value --dry-run

Every job stops cleanly on Ctrl-C and SIGTERM and goes on when the same command is called again. A new job is one line
in `JOBS`; its module is imported when it is called.
"""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from genrm.errors import GenRMError

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEntry:
    """A job of the command line. target: `module:NAME` of its `training.jobs.job.Job`. summary: its help."""

    target: str
    summary: str


JOBS: dict[str, JobEntry] = {
    "loop": JobEntry(target="training.loop:JOB", summary="All stages below, one after the other."),
    "preferences": JobEntry(
        target="training.preferences.vl_genrm:JOB", summary="Make labelled pairs from questions with reference answers."
    ),
    "vapr": JobEntry(target="training.preferences.vapr:JOB", summary="Make hard negatives by editing references."),
    "critiques": JobEntry(target="training.critiques:JOB", summary="Write critiques of labelled pairs to learn from."),
    "ift": JobEntry(target="training.ift:JOB", summary="Stage 1: fine-tune a judge on critiques."),
    "dpo": JobEntry(target="training.dpo:JOB", summary="Train a policy on preference rows by DPO."),
    "ipa": JobEntry(
        target="training.preferences.ipa:JOB", summary="Make preference pairs by sampling, revising and verifying."
    ),
    "reject": JobEntry(target="training.rejection:JOB", summary="Stage 2: iterative margin-based rejection sampling."),
}

LAUNCH = (sys.executable, "-m", "genrm.cli", "train")

ConfigArgument = Annotated[Path | None, typer.Argument(help="YAML file. Default: the job's defaults.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file; may be repeated.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, with estimated tokens and time, and stop.")
]


class MissingLibraryError(GenRMError, ModuleNotFoundError):
    """A library that only training needs is not installed. Install the extra that the message names."""


def build_app(jobs: Mapping[str, JobEntry], *, launch: Sequence[str] = LAUNCH) -> typer.Typer:
    """The family of commands: one per job, and `study`. launch: the command line of this family, to start runs with."""
    app = typer.Typer(
        help="Offline jobs that make preferences, train a better judge, and train policies with it.",
        no_args_is_help=True,
        add_completion=False,
    )
    for name, entry in jobs.items():
        _add_job(app, name, entry)
    _add_study(app, {name: entry.target for name, entry in jobs.items()}, launch)
    return app


def _add_job(app: typer.Typer, name: str, entry: JobEntry) -> None:
    @app.command(name, help=entry.summary)
    def run_job(config: ConfigArgument = None, settings: SetOption = None, *, dry_run: DryRunOption = False) -> None:
        with resumable():
            from training.jobs.config import read_config
            from training.jobs.job import load_job
            from training.jobs.run_folder import RunFolder

            job = load_job(entry.target)
            values = read_config(job.schema, config, settings or ())
            if dry_run:
                _print(job.plan(values).render())
                return
            with RunFolder.open(values.output, values) as folder:
                job.run(values, folder)


def _add_study(app: typer.Typer, targets: Mapping[str, str], launch: Sequence[str]) -> None:
    @app.command()
    def study(
        config: ConfigArgument = None,
        settings: SetOption = None,
        *,
        dry_run: DryRunOption = False,
        retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed before.")] = False,
        report_only: Annotated[
            bool, typer.Option("--report-only", help="Only rebuild tables and plots from what is finished.")
        ] = False,
    ) -> None:
        """Run many configurations with many seeds one after the other, and compare them."""
        with resumable():
            from training.jobs.config import read_config
            from training.jobs.run_folder import RunFolder
            from training.jobs.study import StudyConfig, plan_runs
            from training.jobs.study_runner import render_queue, report, run_study

            values = read_config(StudyConfig, config, settings or ())
            runs = plan_runs(values, targets)
            if dry_run:
                _print(render_queue(values, runs, RunFolder(values.output)))
                return
            with RunFolder.open(values.output, values) as folder:
                if report_only:
                    report(values, runs, folder)
                else:
                    run_study(values, runs, folder, launch, retry_failed=retry_failed)


@contextmanager
def resumable() -> Iterator[None]:
    """Ends the process in good order where a job cannot go on: stopped by a signal, or a library is missing."""
    received = signal.SIGINT

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received = signal.Signals(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Stopped. Run the same command to go on.", err=True)
        raise typer.Exit(128 + received) from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("genrm", "experts", "training"):
            raise
        raise MissingLibraryError(
            f"Module {error.name!r} is not installed; training needs more than serving. "
            "Say pip install 'vl-genrm[train]'."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(table: "Table") -> None:
    from rich.console import Console

    Console(highlight=False).print(table)


app = build_app(JOBS)
