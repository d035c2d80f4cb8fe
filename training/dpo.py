"""Trains a vision-language policy on preferences by DPO, shows how the training went, and measures what came of it.

The pairs may come from `label`, `vapr`, `ipa`, `preferences` or anybody else; any image-text-to-text model of
transformers can be the policy.

Run: `vl-genrm train dpo CONFIG`; on several GPUs: `accelerate launch -m genrm.cli train dpo CONFIG`.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from genrm.errors import GenRMError
from genrm.plots import draw_curves
from training.dpo_training import DpoTraining, plan_dpo, train_dpo
from training.engines import HARMLESS, EngineChoice, PolicyChoice
from training.jobs.config import JobConfig
from training.jobs.job import Job
from training.jobs.plan import Plan
from training.jobs.processes import is_first_process
from training.jobs.run_folder import RESULT, RunFolder
from training.jobs.training_state import TrainingWatch
from training.policy.measuring import PolicyMeasuring, evaluate_policy, plan_policy
from training.preference_set import drop_unusable
from training.sources import Pair, read_pairs

CURVES_PLOT = "curves.png"
MEASURED = "measured"
"""Folder of the measurement in a run's own."""


class TooFewPairsError(GenRMError, ValueError):
    """There is less to train on than one batch. Make more pairs, or lower training.batch_size."""


class DpoConfig(JobConfig):
    """Settings of the job."""

    harmless = HARMLESS | {"training.micro_batch_size", "training.pairs_per_second"}

    source: str = Field(description="Preference rows: pictures, question, chosen and rejected answer.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    limit: int | None = Field(None, ge=1, description="Train on this many pairs at most, drawn at random.")
    engine: PolicyChoice = Field(PolicyChoice(), description="The policy that is trained.")
    training: DpoTraining | None = Field(DpoTraining(), description="null trains nothing, to measure the start alone.")
    measuring: PolicyMeasuring | None = Field(None, description="Held-out questions to measure on; null: none.")


def run(config: DpoConfig, folder: RunFolder) -> None:
    """Train, draw the curves and measure. Raises SourceError, TooFewPairsError, ModelLoadError."""
    result: dict[str, object] = {}
    policy: EngineChoice = config.engine
    if config.training is not None:
        found = drop_unusable(_read_drawn(config))
        require_batch(found.rows, config.training)
        policy = train_dpo(
            config.engine,
            found.rows,
            config.training,
            folder.path,
            seed=config.seed,
            callbacks=[TrainingWatch(folder)],
        )
        result |= {"pairs": len(found.rows), "pairs_left_out": len(found.skipped)}
        if is_first_process():
            draw_training(folder)
    if config.measuring is not None:
        result |= evaluate_policy(policy, config.measuring, folder.path / MEASURED)
    folder.write_json(RESULT, result)


def require_batch(pairs: Sequence[Pair], training: DpoTraining) -> None:
    """Raise TooFewPairsError if the pairs do not fill one batch."""
    if len(pairs) < training.batch_size:
        raise TooFewPairsError(
            f"There are {len(pairs)} usable pairs, fewer than one batch of {training.batch_size}. Make more pairs, or "
            "lower training.batch_size."
        )


def draw_training(folder: RunFolder, *, prefix: str = "") -> None:
    """Loss, and how well policy and pairs agree, by step. prefix: of the names under which the training was logged."""
    metrics = folder.read_metrics()
    panels = {
        "loss (nats)": {"loss": "loss"},
        "share of pairs\ntold apart": {"share": "rewards/accuracies"},
        "reward (β times nats)": {"chosen": "rewards/chosen", "rejected": "rewards/rejected"},
    }
    draw_curves(
        {
            label: {name: metrics.get(f"{prefix}{key}", {}) for name, key in curves.items()}
            for label, curves in panels.items()
        },
        folder.path / CURVES_PLOT,
        xlabel="optimizer step",
        title="Training on preferences",
    )


def _read_drawn(config: DpoConfig) -> list[Pair]:
    pairs = read_pairs(config.source, images=config.images).rows
    if config.limit is not None and config.limit < len(pairs):
        pairs = random.Random(config.seed).sample(pairs, config.limit)
    return pairs


def _plan(config: DpoConfig) -> Plan:
    steps = []
    if config.training is not None:
        steps.append(plan_dpo(config.training, num_pairs=len(_read_drawn(config))))
    if config.measuring is not None:
        steps.append(plan_policy(config.measuring, config.engine, name="measure"))
    return Plan(steps=tuple(steps))


JOB = Job(schema=DpoConfig, plan=_plan, run=run)
