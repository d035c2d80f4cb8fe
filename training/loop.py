"""All stages of the loop in one job: preferences, critiques, stage 1, stage 2, each in a folder of its own.

What the stages share (model, experts' source, held-out pairs, seed, paths between them) is said once. A killed loop
goes on inside the stage that it was in. Studies of whole recipes run this job; a researcher may as well call the
stages one by one.

Run: `vl-genrm train loop CONFIG`.
"""

import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, model_validator

from genrm.fingerprints import fingerprint_weights
from training import critiques, ift, rejection
from training.critiques import CritiqueConfig
from training.engines import HARMLESS, EngineChoice
from training.finetuning import plan_training, trained_choice
from training.fingerprints import fingerprint_source
from training.ift import IftConfig
from training.jobs.config import ConfigError, JobConfig, read_config
from training.jobs.job import Job
from training.jobs.plan import Plan, PlannedStep
from training.jobs.processes import is_first_process, num_processes, wait_for
from training.jobs.run_folder import RESULT, RunFolder
from training.jobs.shared_steps import do_once
from training.measuring import Measuring, measure, plan_measuring
from training.preferences import vl_genrm
from training.preferences.pairs import DATA
from training.preferences.vl_genrm import PreferenceConfig
from training.rejection import BEST, ROUNDS, RejectConfig, plan_rounds

C = TypeVar("C", bound=JobConfig)

_OWN_KEYS = {
    **{key: key for key in ("output", "seed", "engine", "source", "measuring")},
    "limit": "pairs_for_ift",
    "skip_pairs": "pairs_for_ift",
}
"""By a stage's key that the loop sets: the loop's own for it."""
_STAGES = ("preferences", "critiques", "ift", "reject")

_log = logging.getLogger(__name__)


class LoopConfig(JobConfig):
    """Settings of the job. A stage's section has the keys of that stage's own configuration, but for those here."""

    harmless = HARMLESS | {
        "shared_steps",
        *(
            f"{stage}.training.{key}"
            for stage in ("ift", "reject")
            for key in ("micro_batch_size", "samples_per_second")
        ),
    }

    source: str = Field(description="Rows with image, question and reference.")
    engine: EngineChoice = Field(EngineChoice(), description="The base: it answers, criticises and is trained.")
    measuring: Measuring = Field(description="Held-out pairs that every step is measured on.")
    held_out: Measuring | None = Field(
        None,
        description="Pairs that nothing is decided on: at the end, base, stage 1 and all rounds are measured there.",
    )
    shared_steps: Path | None = Field(
        None,
        description="Folder through which runs, such as the arms of a study, share the steps in which they are the "
        "same; used by single processes only.",
    )
    pairs_for_ift: int = Field(4000, ge=1, description="Pairs for stage 1; stage 2 takes those after them.")
    preferences: dict[str, Any] = Field({}, description="Section of `train preferences`.")
    critiques: dict[str, Any] = Field({}, description="Section of `train critiques`.")
    ift: dict[str, Any] = Field({}, description="Section of `train ift`.")
    reject: dict[str, Any] | None = Field({}, description="Section of `train reject`; null: no stage 2.")

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        stages_of(self)
        return self


def stages_of(config: LoopConfig) -> tuple[PreferenceConfig, CritiqueConfig, IftConfig, RejectConfig | None]:
    """The configurations of the stages. Raises ConfigError for a key that a stage does not know or the loop sets."""
    output, shared = config.output, {"seed": config.seed, "engine": config.engine.model_dump()}
    measuring = config.measuring.model_dump()
    pairs = str(output / "preferences" / DATA)
    preferences = _stage(
        PreferenceConfig,
        "preferences",
        config.preferences,
        {**shared, "source": config.source, "output": output / "preferences"},
    )
    written = _stage(
        CritiqueConfig,
        "critiques",
        config.critiques,
        {**shared, "pairs": pairs, "limit": config.pairs_for_ift, "output": output / "critiques"},
    )
    first = _stage(
        IftConfig,
        "ift",
        config.ift,
        {**shared, "pairs": pairs, "critiques": output / "critiques", "measuring": measuring, "output": output / "ift"},
    )
    if config.reject is None:
        return preferences, written, first, None
    second = _stage(
        RejectConfig,
        "reject",
        config.reject,
        {
            **shared,
            "engine": trained_choice(config.engine, first.training, first.output).model_dump(),
            "pairs": pairs,
            "skip_pairs": config.pairs_for_ift,
            "first_samples": output / "critiques",
            "measuring": measuring,
            "output": output / "reject",
        },
    )
    return preferences, written, first, second


def run(config: LoopConfig, folder: RunFolder) -> None:
    """All stages that are not done, then the ladder: base, stage 1, and each round."""
    _run_stages(config, folder)
    measured = {"base": _measure(config, "base", config.measuring, folder.path / "base"), **_steps(config)}
    choices, last = _rungs(config, measured)
    best = last
    if measured["base"]["overall"]["value"] > measured[last]["overall"]["value"]:
        _log.warning("On %s no stage is better than the base, which the loop ends with.", config.measuring.pairs)
        best = "base"
    folder.write_json(BEST, choices[best].model_dump(mode="json"))
    result: dict[str, Any] = {"final": measured[best], "ladder": measured, "rounds": _tell_rounds(config)}
    if config.held_out is not None:
        held_out = {
            name: _measure(config, name, config.held_out, folder.path / "held-out" / name.replace(" ", "-"))
            for name in choices
        }
        result["held_out"] = {**held_out, "final": held_out[best]}
    folder.write_json(RESULT, result)


def _run_stages(config: LoopConfig, folder: RunFolder) -> None:
    stages = stages_of(config)
    jobs: tuple[Job[Any], ...] = (vl_genrm.JOB, critiques.JOB, ift.JOB, rejection.JOB)
    for name, job, values in zip(_STAGES, jobs, stages, strict=True):
        if values is None or folder.is_done(name):
            continue

        def work(name: str = name, job: Job[Any] = job, values: JobConfig = values) -> None:
            if name == "reject" and is_first_process():  # it begins with stage 1, which is measured already
                measured = stages[2].output / ift.MEASURED
                shutil.copytree(measured, values.output / rejection.START, dirs_exist_ok=True)
            with RunFolder.open(values.output, values) as inner:
                job.run(values, inner)

        do_once(_shared(config), name, _key(config, name), values.output, work)
        folder.mark_done(name)


def _measure(config: LoopConfig, rung: str, settings: Measuring, folder: Path) -> dict[str, Any]:
    """Figures of a rung of the ladder."""
    choice, shared = _choices(config, (rung,))[rung], _shared(config)
    if shared is not None:
        trained = [] if rung == "base" else [rung, *_key(config, "ift" if rung == "stage 1" else "reject")]
        key = [config.engine.model_dump_json(), settings.model_dump_json(), *trained]
        key += [*_fingerprint_base(config), *_fingerprint_data(settings.pairs, settings.images)]
        do_once(shared, "measured", key, folder, lambda: measure(choice, settings, folder))
    figures: dict[str, Any] = measure(choice, settings, folder)["figures"]
    return figures


def _shared(config: LoopConfig) -> Path | None:
    return config.shared_steps if num_processes() == 1 else None


def _key(config: LoopConfig, stage: str) -> list[str]:
    """All that a stage's result depends on: its settings and those of the stages before it, the output folder aside,
    and what lies under the names in them.
    """
    until = _STAGES.index(stage) + 1
    told = [values.model_dump_json(exclude={"output"}) for values in stages_of(config)[:until] if values is not None]
    for name in _STAGES:
        told = [text.replace(str(config.output / name), name) for text in told]
    told += [fingerprint_weights(Path(name)) for name in stages_of(config)[0].experts.model_names]
    told += _fingerprint_data(config.source, stages_of(config)[0].images)
    if until > _STAGES.index("ift"):
        told += _fingerprint_data(config.measuring.pairs, config.measuring.images)
    return [*told, *_fingerprint_base(config)]


def _fingerprint_data(source: str, images: Path | None) -> list[str]:
    """Of rows and of the folder of their pictures."""
    return [fingerprint_source(source), "" if images is None else fingerprint_source(str(images))]


def _fingerprint_base(config: LoopConfig) -> list[str]:
    names = () if config.engine.url is not None else (config.engine.model_name, config.engine.adapter)
    return [fingerprint_weights(Path(name)) for name in names if name]


def _steps(config: LoopConfig) -> dict[str, dict[str, Any]]:
    """Figures of stage 1 and of each round, which the stages measured."""
    _, _, first, second = stages_of(config)
    wait_for(first.output / RESULT)
    steps = {"stage 1": RunFolder(first.output).read_json(RESULT)}
    if second is not None:
        wait_for(second.output / RESULT)
        rounds = RunFolder(second.output).read_json(RESULT)["rounds"]
        steps |= {f"round {number}": figures for number, figures in rounds.items() if number != "0"}
    return steps


def _tell_rounds(config: LoopConfig) -> dict[str, dict[str, Any]]:
    """Retention and gain of each round."""
    *_, second = stages_of(config)
    if second is None:
        return {}
    told = enumerate(RunFolder(second.output).read_json(ROUNDS)["rounds"], 1)
    return {f"round {number}": {name: each[name] for name in ("retention", "gain")} for number, each in told}


def _rungs(config: LoopConfig, ladder: Iterable[str]) -> tuple[dict[str, EngineChoice], str]:
    """The judge at every rung of the ladder, and the name of the rung that the last stage ended with."""
    *_, second = stages_of(config)
    if second is None:
        return _choices(config, ("base", "stage 1")), "stage 1"
    number = RunFolder(second.output).read_json(ROUNDS)["best_round"]
    return _choices(config, ladder), f"round {number}" if number else "stage 1"


def _choices(config: LoopConfig, rungs: Iterable[str]) -> dict[str, EngineChoice]:
    """The judge at each of these rungs: `base`, `stage 1`, `round 1`, …"""
    _, _, first, second = stages_of(config)
    choices = {"base": config.engine, "stage 1": trained_choice(config.engine, first.training, first.output)}
    for rung in rungs:
        if rung not in choices and second is not None:
            choices[rung] = trained_choice(second.engine, second.training, second.output / rung.replace(" ", "-"))
    return {rung: choices[rung] for rung in rungs}


def _stage(schema: type[C], name: str, section: Mapping[str, Any], given: Mapping[str, Any]) -> C:
    """The configuration of one stage: its section, and what the loop decides, which the section must not name."""
    for key in section:
        if (decided := key.partition(".")[0]) in given:
            own = _OWN_KEYS.get(decided)
            raise ConfigError(
                f"There is no key '{name}.{key}' in a loop, which sets it itself; "
                + (f"give {own!r} instead." if own else "drop it: it is what an earlier stage writes.")
            )
    values = {**section, **{key: str(value) if isinstance(value, Path) else value for key, value in given.items()}}
    settings = [f"{key}={_as_yaml(value)}" for key, value in values.items()]
    return read_config(schema, None, settings, source=f"Section {name!r}")


def _as_yaml(value: object) -> str:
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, width=10**9).removesuffix("\n...\n").strip()


def _plan(config: LoopConfig) -> Plan:
    """All stages, as if every critique were accepted."""
    preferences, written, first, second = stages_of(config)
    readings = 2 * config.pairs_for_ift * (written.per_order + 1)
    num_samples = 2 * written.keep_per_order * config.pairs_for_ift
    steps = [
        *vl_genrm.JOB.plan(preferences).steps,
        PlannedStep(
            name="critiques",
            detail=f"{config.pairs_for_ift:,} pairs at most",
            num_tokens=300 * readings,
            seconds=readings / config.engine.readings_per_second,
        ),
        plan_training(first.training, num_samples=num_samples),
        plan_measuring(config.measuring, config.engine, name="measure stage 1"),
    ]
    if second is not None:
        steps += plan_rounds(second, num_first_samples=num_samples).steps[1:]  # its start is stage 1, measured already
    steps.append(plan_measuring(config.measuring, config.engine, name="measure the base"))
    if config.held_out is not None:
        rungs = ("base", "stage 1", *(f"round {n}" for n in range(1, (second.rounds if second else 0) + 1)))
        steps += [plan_measuring(config.held_out, config.engine, name=f"held out: {rung}") for rung in rungs]
    return Plan(steps=tuple(steps))


JOB = Job(schema=LoopConfig, plan=_plan, run=run)
