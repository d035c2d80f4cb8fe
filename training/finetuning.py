"""Fine-tuning a judge on samples with transformers' Trainer: LoRA, or the weights themselves.

What learns is the linear layers of the language model. Vision tower and embeddings are frozen: judge training teaches
to criticise, not to see. A killed training goes on from its last checkpoint; a loss that is no number ends it with the
last good one kept. Runs on one process, under `accelerate launch` on several GPUs, and on a CPU.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from peft import PeftModel
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed

from genrm.errors import GenRMError
from training.engines import EngineChoice
from training.jobs.plan import PlannedStep
from training.jobs.processes import is_first_process
from training.losses import mixture_loss
from training.muon import Muon
from training.packing import use_packed_attention
from training.samples import Collator, ImageSampler, Sample
from training.sources import log_skipped
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


class TooFewSamplesError(GenRMError, ValueError):
    """There is less to train on than one batch. Make more pairs or critiques, or lower training.batch_size."""


class FineTuning(TrainerSettings):
    """How a judge is trained on its samples."""

    method: Literal["lora", "full"] = Field("lora", description="lora, or full: the weights themselves.")
    optimizer: Literal["adamw", "muon"] = Field("adamw", description="muon is for full and needs fewer steps.")
    learning_rate: float = Field(2e-4, gt=0)
    mixing: float = Field(0.5, ge=0, description="λ of the mixture loss; 0 is plain fine-tuning.")
    max_tokens: int = Field(4096, ge=64, description="Longer samples are left out; image tokens included.")
    samples_per_second: float = Field(
        80.0, gt=0, description="Used by --dry-run only; the default is the pocket models' on two CPU cores."
    )

    @model_validator(mode="after")
    def _check_optimizer(self) -> Self:
        if self.optimizer == "muon" and self.method == "lora":
            raise ValueError("optimizer muon is for method full; LoRA's thin matrices need adamw")
        return self


class JudgeTrainer(Trainer):
    """transformers' Trainer with the mixture loss."""

    def __init__(self, *args: Any, mixing: float, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(*args, **kwargs)
        self._mixing = mixing
        samples: Any = self.train_dataset
        self._sampler = ImageSampler(samples, seed=self.args.seed)
        self.model_accepts_loss_kwargs = False  # the loss is a mean already; gradient accumulation averages it

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the Trainer's signature
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401 - as above
        """The mixture loss of a batch of the `Collator`."""
        targets, owners, weights = (inputs.pop(name) for name in ("targets", "owners", "weights"))
        outputs = model(**inputs, use_cache=False)
        loss = mixture_loss(outputs.logits[0], targets, owners, weights, mixing=self._mixing)
        return (loss, outputs) if return_outputs else loss

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The Trainer's, told which sampler must know the epoch: with several processes it would not find it."""
        loader: Any = super().get_train_dataloader()
        loader.set_sampler(self._sampler)
        return loader  # type: ignore[no-any-return] # a DataLoader that accelerate has wrapped

    def _get_train_sampler(self, train_dataset: Any = None) -> ImageSampler:  # noqa: ANN401 - the Trainer's signature
        """Neighbours in a batch share images, and the Collator computes what they share once."""
        return self._sampler

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load whole models as `from_pretrained` does: saving renames tensors, and the Trainer, which only warns where
        none fits, would go on from untrained weights. Sharded ones (FSDP) were saved under the names that they have.
        """
        if isinstance(self.model, PeftModel) or self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        whole: Any = self.model
        saved = type(whole).from_pretrained(resume_from_checkpoint, dtype=whole.dtype)
        whole.load_state_dict(saved.state_dict())


def fine_tune(
    start: EngineChoice,
    samples: Sequence[Sample],
    settings: FineTuning,
    output: Path,
    *,
    seed: int,
    callbacks: Sequence[TrainerCallback] = (),
) -> EngineChoice:
    """Train a model on samples and return the choice of the result, whose `adapter` (`lora`) or `model` (`full`) is
    `output/model`.

    start: what is trained; an adapter of it is trained on. output: while training it holds `checkpoints`, from which a
    killed run goes on; a finished training is not repeated. Samples that cannot be learned from (longer than
    `max_tokens`, an image that cannot be read) are left out, and logged. The result runs in this process, whoever ran
    the start. Raises ModelLoadError, ConfigError, TooFewSamplesError, and whatever a callback raises.
    """
    finished = output / "model"
    if not finished.exists():
        _train(start, samples, settings, output, finished, seed=seed, callbacks=callbacks)
    return trained_choice(start, settings, output)


def require_batch(samples: Sequence[Sample], training: FineTuning) -> None:
    """Raise TooFewSamplesError if the samples do not fill one batch."""
    if len(samples) < training.batch_size:
        raise TooFewSamplesError(
            f"There are {len(samples)} samples that can be learned from, fewer than one batch of "
            f"{training.batch_size}. Make more pairs or critiques, or lower training.batch_size, in another output "
            "folder."
        )


def trained_choice(start: EngineChoice, settings: FineTuning, output: Path) -> EngineChoice:
    """What `fine_tune` with these arguments returns, whether it has run or not."""
    finished = str(output / "model")
    trained = {"adapter": finished} if settings.method == "lora" else {"model": finished, "adapter": None}
    return start.model_copy(update={"url": None, **trained})


def plan_training(settings: FineTuning, *, num_samples: int) -> PlannedStep:
    """The training of so many samples."""
    steps = settings.num_steps(num_samples)
    detail = f"{num_samples:,} samples, {steps:,} steps of {settings.batch_size}, {settings.method}"
    presented = steps * settings.batch_size
    return PlannedStep(
        name="train", detail=detail, num_tokens=200 * presented, seconds=presented / settings.samples_per_second
    )


def _train(
    start: EngineChoice,
    samples: Sequence[Sample],
    settings: FineTuning,
    output: Path,
    finished: Path,
    *,
    seed: int,
    callbacks: Sequence[TrainerCallback],
) -> None:
    set_seed(seed)
    checkpoints = output / "checkpoints"
    model, processor = _load(start, settings)
    collator = Collator(processor, model, max_tokens=settings.max_tokens)
    usable = collator.drop_unusable(samples)
    if is_first_process():
        log_skipped(usable.skipped)
    if usable.skipped:
        require_batch(usable.rows, settings)
    arguments = _arguments(settings, checkpoints, seed=seed, num_samples=len(usable.rows))
    use_packed_attention(model)
    train_dataset: Any = usable.rows  # a sequence is what the Trainer needs of one
    trainer = JudgeTrainer(
        model=with_lora(model, start, rank=settings.lora_rank, alpha=settings.lora_alpha)
        if settings.method == "lora"
        else model,
        args=arguments,
        train_dataset=train_dataset,
        data_collator=collator,
        callbacks=list(callbacks),
        mixing=settings.mixing,
        optimizers=(_muon(model, settings), None) if settings.optimizer == "muon" else (None, None),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    save_result(trainer, processor, finished, base=start.model_name)


def _load(start: EngineChoice, settings: FineTuning) -> tuple[PreTrainedModel, Any]:
    """What learns is float32: steps of a small learning rate are lost in bfloat16."""
    is_full = settings.method == "full"
    model, processor = load_for_training(
        start,
        dtype="float32" if is_full or settings.precision == "float32" else "auto",
        merged=start.adapter if is_full else None,
    )
    if is_full:
        for name, module in model.named_modules():
            if re.fullmatch(LANGUAGE_LINEAR, name):
                weight: Any = module.weight
                weight.requires_grad_()
    return model, processor


def _muon(model: PreTrainedModel, settings: FineTuning) -> torch.optim.Optimizer:
    return Muon(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )


def _arguments(settings: FineTuning, folder: Path, *, seed: int, num_samples: int) -> TrainingArguments:
    arguments = TrainingArguments(
        **trainer_arguments(settings, folder, seed=seed, num_steps=settings.num_steps(num_samples)),
        activation_checkpointing=settings.gradient_checkpointing,
        logging_steps=10,
    )
    limit_to_one_gpu(arguments)
    return arguments
