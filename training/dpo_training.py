"""Direct preference optimisation of a vision-language policy by TRL's trainer, with LoRA.

The defaults are IPA's (arXiv 2503.20309): AdamW, a cosine schedule, learning rate 5e-6, 64 pairs a step, one epoch.
IPA states neither β nor the rank; 0.1 and 32 are ours. The reference is the policy before the training: the base under
a new adapter, or a frozen copy of the adapter that is trained on.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from transformers import TrainerCallback

from training.engines import EngineChoice
from training.jobs.plan import PlannedStep
from training.preference_set import make_data_set
from training.sources import Pair
from training.trainer_setup import (
    LANGUAGE_LINEAR,
    TrainerSettings,
    last_checkpoint,
    limit_to_one_gpu,
    load_for_training,
    save_result,
    trainer_arguments,
    with_lora,
)

_TOKENS_PER_PAIR = 400
"""Read for a pair, about: both answers, by policy and reference."""


class DpoTraining(TrainerSettings):
    """How a policy is trained on pairs."""

    beta: float = Field(0.1, gt=0, description="How strongly the policy is held to where it began.")
    loss: tuple[Literal["sigmoid", "ipo", "hinge", "robust", "apo_zero", "apo_down", "sft"], ...] = Field(
        ("sigmoid",),
        min_length=1,
        description="TRL's loss types; sigmoid is DPO; apo_zero raises the chosen answer and lowers the rejected "
        "one, each by itself (for answers that differ in little); sft adds the chosen answer's likelihood.",
    )
    loss_weights: tuple[float, ...] | None = Field(None, description="One per loss; default: all 1.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Share of labels taken to be wrong.")
    lora_targets: str = Field(
        LANGUAGE_LINEAR,
        description="Pattern of the modules that get an adapter, or all-linear; default: the language model's layers.",
    )
    learning_rate: float = Field(5e-6, gt=0)
    batch_size: int = Field(64, ge=1, description="Pairs per optimizer step, all processes together.")
    micro_batch_size: int = Field(16, ge=1, description="Pairs computed at once by one process; lower it for memory.")
    max_tokens: int | None = Field(None, ge=64, description="Longer rows lose their end, image tokens included.")
    pairs_per_second: float = Field(
        4.5, gt=0, description="Used by --dry-run only; the default is the pocket models' on one CPU core."
    )

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss):
            raise ValueError("loss_weights must have as many numbers as loss has names")
        return self


def train_dpo(
    start: EngineChoice,
    pairs: Sequence[Pair],
    settings: DpoTraining,
    output: Path,
    *,
    seed: int,
    callbacks: Sequence[TrainerCallback] = (),
) -> EngineChoice:
    """Train a policy on preferences and return the choice of the result, whose `adapter` is `output/model`.

    start: what is trained; an adapter of it is trained on. pairs: usable ones (`preference_set.drop_unusable`). output:
    while training it holds `checkpoints`, from which a killed run goes on; a finished training is not repeated. Raises
    ModelLoadError, ConfigError, and whatever a callback raises.
    """
    finished = output / "model"
    if not finished.exists():
        _train(start, pairs, settings, output, finished, seed=seed, callbacks=callbacks)
    return start.model_copy(update={"url": None, "adapter": str(finished)})


def plan_dpo(settings: DpoTraining, *, num_pairs: int) -> PlannedStep:
    """The training on so many pairs."""
    steps = settings.num_steps(num_pairs)
    presented = steps * settings.batch_size
    return PlannedStep(
        name="train",
        detail=f"{num_pairs:,} pairs, {steps:,} steps of {settings.batch_size}",
        num_tokens=_TOKENS_PER_PAIR * presented,
        seconds=presented / settings.pairs_per_second,
    )


def _train(
    start: EngineChoice,
    pairs: Sequence[Pair],
    settings: DpoTraining,
    output: Path,
    finished: Path,
    *,
    seed: int,
    callbacks: Sequence[TrainerCallback],
) -> None:
    from trl.trainer.dpo_trainer import DPOTrainer

    checkpoints = output / "checkpoints"
    arguments = _arguments(settings, checkpoints, seed=seed, num_pairs=len(pairs))
    torch.manual_seed(seed)  # of the new adapter
    model, processor = load_for_training(start, dtype="float32" if settings.precision == "float32" else "auto")
    adapted: Any = with_lora(
        model, start, rank=settings.lora_rank, alpha=settings.lora_alpha, targets=settings.lora_targets
    )
    with _quiet():
        trainer = DPOTrainer(
            model=adapted,
            args=arguments,
            train_dataset=make_data_set(pairs),
            processing_class=processor,
            callbacks=list(callbacks),
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    trained: Any = trainer.accelerator.unwrap_model(trainer.model)
    if "ref" in trained.peft_config:  # the trainer's frozen copy of the adapter that was trained on
        trained.delete_adapter("ref")
    save_result(trainer, processor, finished, base=start.model_name)


def _arguments(settings: DpoTraining, folder: Path, *, seed: int, num_pairs: int) -> Any:  # noqa: ANN401 - TRL's
    from trl.trainer.dpo_config import DPOConfig

    with _quiet():
        arguments = DPOConfig(
            **trainer_arguments(settings, folder, seed=seed, num_steps=settings.num_steps(num_pairs)),
            beta=settings.beta,
            loss_type=list(settings.loss),
            loss_weights=None if settings.loss_weights is None else list(settings.loss_weights),
            label_smoothing=settings.label_smoothing,
            max_length=settings.max_tokens,
            gradient_checkpointing=settings.gradient_checkpointing,
            logging_first_step=True,
            logging_steps=5,
        )
    limit_to_one_gpu(arguments)
    return arguments


@contextmanager
def _quiet() -> Iterator[None]:
    """TRL calls a setting of transformers by its old name, of which transformers warns at every checkpoint."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*gradient_checkpointing", category=FutureWarning)
        yield
