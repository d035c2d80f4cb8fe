"""What a study is: several arms (a job with other settings) times several seeds, as a list of runs.

The list takes all arms with the first seed before the second seed, so that a comparison exists early. All
configurations are checked while it is made, before anything runs.

Layout of a study's folder:

    runs/<arm>/seed-<n>/                    each run's own folder
    logs/<arm>-seed-<n>.log                 what it printed
    results.json, results.md, plots/        see `training.jobs.study_report`
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from genrm.errors import GenRMError
from training.jobs.config import ConfigError, JobConfig, Section, flatten, read_config
from training.jobs.job import JobTargets, load_job
from training.jobs.run_folder import refuse_other_config

_SEED = "{seed}"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class Arm(Section):
    """One of the things compared. What it does not say is taken from the study; its overrides come on top.

    `{seed}` in a text among the overrides stands for the run's seed: the rows that another study made with it, say.
    """

    job: str | None = None
    config: Path | None = None
    overrides: dict[str, Any] = Field({})


class StudyConfig(JobConfig):
    """What is compared. `seed` is the first of the seeds.

    Nothing here is fixed once a study has begun: arms and seeds may be added, and each run checks its own settings.
    """

    harmless: ClassVar[frozenset[str]] = frozenset(
        {"output", "seed", "title", "job", "config", "overrides", "arms", "num_seeds", "metrics", "num_parallel"}
    )

    title: str = "Study"
    job: str | None = Field(None, description="Kind of job of all arms that name none.")
    config: Path | None = Field(None, description="YAML file of that job.")
    overrides: dict[str, Any] = Field({}, description="Settings on top of it, nested or with dotted keys.")
    arms: dict[Name, Arm] = Field(min_length=1)
    num_seeds: int = Field(1, ge=1)
    num_parallel: int = Field(
        1,
        ge=1,
        description="Runs at a time; each gets its share of the CPU's cores. Small models gain little from a second "
        "core, so that a study of them ends about as many times sooner. On a GPU all must fit its memory.",
    )
    metrics: tuple[str, ...] = Field(
        ("*",), description="Patterns such as `accuracy.*`: the metrics of table and plots, in this order."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run. arguments: what follows `vl-genrm train`. planned_seconds: what its job estimates."""

    arm: str
    seed: int
    folder: Path
    log: Path
    arguments: tuple[str, ...]
    planned_seconds: float

    @property
    def name(self) -> str:
        """What state, messages and tables call it."""
        return f"{self.arm}/seed-{self.seed}"


def plan_runs(config: StudyConfig, targets: JobTargets) -> list[Run]:
    """All runs in the order in which they are worked off.

    Raises ConfigError if an arm names no job that exists, has settings that its job refuses, or was begun with others.
    """
    seeds = range(config.seed, config.seed + config.num_seeds)
    return [_plan_run(config, name, seed, targets) for seed in seeds for name in config.arms]


def _plan_run(config: StudyConfig, name: str, seed: int, targets: JobTargets) -> Run:
    arm = config.arms[name]
    kind, file = arm.job or config.job or "", arm.config or config.config
    if kind not in targets:
        raise ConfigError(f"Arm {name!r} has the job {kind!r}. Known are {', '.join(targets)}; give one as `job`.")
    folder = config.output / "runs" / name / f"seed-{seed}"
    changes = {**flatten(config.overrides), **flatten(arm.overrides), "output": str(folder), "seed": seed}
    written = {key: json.dumps(value, ensure_ascii=False).replace(_SEED, str(seed)) for key, value in changes.items()}
    overrides = [f"{key}={value}" for key, value in written.items()]
    job = load_job(targets[kind])
    try:
        settings = read_config(job.schema, file, overrides)
        refuse_other_config(folder, settings)
        seconds = job.plan(settings).seconds
    except GenRMError as error:
        raise ConfigError(f"Arm {name!r}: {error}") from None
    return Run(
        arm=name,
        seed=seed,
        folder=folder,
        log=config.output / "logs" / f"{name}-seed-{seed}.log",
        arguments=(kind, *([] if file is None else [str(file)]), *(f"--set={override}" for override in overrides)),
        planned_seconds=seconds,
    )
