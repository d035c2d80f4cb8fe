"""What the command line and studies need to know of an offline job: its settings, its plan and how to run it.

A job's module offers one `Job`. Nothing of it is imported until that job is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from training.jobs.config import JobConfig
from training.jobs.plan import Plan
from training.jobs.run_folder import RunFolder

ConfigT = TypeVar("ConfigT", bound=JobConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job(Generic[ConfigT]):
    """An offline job.

    schema: its settings. plan: its steps and their cost; loads no model and writes nothing. run: does the work in an
    open folder, skipping what is done there, and at the end writes `result.json`: estimates
    (`training.statistics.Estimate`) by metric, possibly nested.
    """

    schema: type[ConfigT]
    plan: Callable[[ConfigT], Plan]
    run: Callable[[ConfigT, RunFolder], None]


def load_job(target: str) -> Job[Any]:
    """Import a job. target: `module:NAME`."""
    module, _, name = target.partition(":")
    job = getattr(import_module(module), name)
    assert isinstance(job, Job)
    return job


JobTargets = Mapping[str, str]
"""Where each job is found (`module:NAME`), by the word that calls it."""
