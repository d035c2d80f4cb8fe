"""Direct preference optimisation of a vision-language policy by TRL's trainer, with LoRA.

The defaults are IPA's (arXiv 2503.20309): AdamW, a cosine schedule, learning rate 5e-6, 64 pairs a step, one epoch.
IPA states neither β nor the rank; 0.1 and 32 are ours. The reference is the policy before the training: the base under
a new adapter, or a frozen copy of the adapter that is trained on.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from transformers import TrainerCallback

from training.engines import EngineChoice
from training.jobs.config import Section
from training.jobs.plan import PlannedStep
from training.preference_set import make_data_set
from training.sources import Pair
from training.trainer_setup import (
    LANGUAGE_LINEAR,
    last_checkpoint,
    limit_to_one_gpu,
    load_for_training,
    save_result,
    share_batch,
    with_lora,
)

_TOKENS_PER_PAIR = 400
"""Read for a pair, about: both answers, by policy and reference."""


class DpoTraining(Section):
    """How a policy is trained on pairs."""

    beta: float = Field(0.1, gt=0, description="How strongly the policy is held to where it began.")
    loss: tuple[Literal["sigmoid", "ipo", "hinge", "robust", "sft"], ...] = Field(
        ("sigmoid",), min_length=1, description="TRL's loss types; sigmoid is DPO, sft adds the chosen answer's."
    )
    loss_weights: tuple[float, ...] | None = Field(None, description="One per loss; default: all 1.")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="Share of labels taken to be wrong.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of computations; auto: bfloat16 on a GPU that has it."
    )
    lora_rank: int = Field(32, ge=1)
    lora_alpha: int = Field(64, ge=1)
    lora_targets: str = Field(
        LANGUAGE_LINEAR,
        description="Pattern of the modules that get an adapter, or all-linear; default: the language model's layers.",
    )
    learning_rate: float = Field(5e-6, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(64, ge=1, description="Pairs per optimizer step, all processes together.")
    micro_batch_size: int = Field(16, ge=1, description="Pairs computed at once by one process; lower it for memory.")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which the rate rises.")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_tokens: int | None = Field(None, ge=64, description="Longer rows lose their end, image tokens included.")
    checkpoint_every: int = Field(100, ge=1, description="Optimizer steps between checkpoints.")
    gradient_checkpointing: bool = Field(default=False, description="Less memory, about a third slower.")
    pairs_per_second: float = Field(
        15.0, gt=0, description="Used by --dry-run only; the default is the pocket models' on two CPU cores."
    )

    def num_steps(self, num_pairs: int) -> int:
        """Optimizer steps for so many pairs, at least 1."""
        return max(1, round(self.epochs * num_pairs / self.batch_size))


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
    save_result(trainer, processor, finished)


def _arguments(settings: DpoTraining, folder: Path, *, seed: int, num_pairs: int) -> Any:  # noqa: ANN401 - TRL's
    from trl.trainer.dpo_config import DPOConfig

    micro, accumulation = share_batch(settings.batch_size, settings.micro_batch_size)
    steps = settings.num_steps(num_pairs)
    has_bfloat16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    with _quiet():
        arguments = DPOConfig(
            output_dir=str(folder),
            beta=settings.beta,
            loss_type=list(settings.loss),
            loss_weights=None if settings.loss_weights is None else list(settings.loss_weights),
            label_smoothing=settings.label_smoothing,
            max_length=settings.max_tokens,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=accumulation,
            max_steps=steps,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=round(settings.warmup_share * steps),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            seed=seed,
            use_cpu=not torch.cuda.is_available(),
            bf16=settings.precision == "bfloat16" or (settings.precision == "auto" and has_bfloat16),
            gradient_checkpointing=settings.gradient_checkpointing,
            logging_first_step=True,
            logging_steps=5,
            logging_nan_inf_filter=False,
            save_strategy="steps",
            save_steps=settings.checkpoint_every,
            save_total_limit=2,
            remove_unused_columns=False,
            report_to="none",
            dataloader_pin_memory=torch.cuda.is_available(),
            disable_tqdm=False,
        )
    limit_to_one_gpu(arguments)
    return arguments


@contextmanager
def _quiet() -> Iterator[None]:
    """TRL calls a setting of transformers by its old name, of which transformers warns at every checkpoint."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*gradient_checkpointing", category=FutureWarning)
        yield
