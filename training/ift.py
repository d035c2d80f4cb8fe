"""Stage 1 of VL-GenRM: rewarding instruction-following fine-tuning, on critiques that were accepted.

Trains the model on the samples of `training.critiques` with the mixture loss (`training.losses`), LoRA or all weights,
and measures the result on held-out pairs.

Run: `vl-genrm train ift CONFIG`; on several GPUs: `accelerate launch -m genrm.cli train ift CONFIG`.
"""

import random
from pathlib import Path

from pydantic import Field

from training.critiques import read_critiques
from training.engines import HARMLESS, EngineChoice
from training.finetuning import FineTuning, fine_tune, plan_training, require_batch
from training.jobs.config import JobConfig
from training.jobs.job import Job
from training.jobs.plan import Plan
from training.jobs.run_folder import RESULT, RunFolder
from training.jobs.training_state import TrainingWatch
from training.measuring import Measuring, measure, plan_measuring
from training.samples import Sample
from training.sources import read_own_pairs

MEASURED = "measured"
"""Folder of the measurement in a run's own."""


class IftConfig(JobConfig):
    """Settings of the job."""

    harmless = HARMLESS | {"training.micro_batch_size", "training.samples_per_second"}

    pairs: str = Field(description="Labelled pairs that the critiques are about.")
    critiques: Path = Field(description="Output folder of `train critiques`.")
    engine: EngineChoice = Field(EngineChoice(), description="The model that is trained.")
    training: FineTuning = FineTuning()
    measuring: Measuring | None = Field(None, description="Held-out pairs to measure on; none: no measurement.")
    limit: int | None = Field(None, ge=1, description="Train on this many samples at most, drawn at random.")


def run(config: IftConfig, folder: RunFolder) -> None:
    """Train and measure."""
    samples = load_samples(config)
    trained = fine_tune(
        config.engine, samples, config.training, folder.path, seed=config.seed, callbacks=[TrainingWatch(folder)]
    )
    measured = {} if config.measuring is None else measure(trained, config.measuring, folder.path / MEASURED)
    folder.write_json(RESULT, {"samples": len(samples), **measured.get("figures", {})})


def load_samples(config: IftConfig) -> list[Sample]:
    """What the job trains on. Raises TooFewSamplesError."""
    samples = read_critiques(config.critiques, read_own_pairs(config.pairs))
    if config.limit is not None and config.limit < len(samples):
        samples = random.Random(config.seed).sample(samples, config.limit)
    require_batch(samples, config.training)
    return samples


def _plan(config: IftConfig) -> Plan:
    steps = [plan_training(config.training, num_samples=len(load_samples(config)))]
    if config.measuring is not None:
        steps.append(plan_measuring(config.measuring, config.engine, name="measure"))
    return Plan(steps=tuple(steps))


JOB = Job(schema=IftConfig, plan=_plan, run=run)
