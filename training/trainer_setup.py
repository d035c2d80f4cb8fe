"""What trainings with transformers' Trainer share: loading, LoRA, batches, checkpoints and the folder of the result.

`training.finetuning` (judges) and `training.dpo` (policies) stand on it. What is learned, and by which loss, is theirs.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer import TRAINER_STATE_NAME

from genrm.engines.loading import check_adapter_base, choose_placement, foreign_errors, load_model
from genrm.fingerprints import BASE_FILE, fingerprint_weights
from training.engines import EngineChoice
from training.jobs.config import ConfigError, Section
from training.jobs.files import write_json
from training.jobs.processes import is_first_process, num_processes, wait_for

LANGUAGE_LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""All linear layers of the language model of a Qwen2-VL or Qwen2.5-VL, and of most others that transformers has."""


def load_for_training(start: EngineChoice, *, dtype: str, merged: str | None = None) -> tuple[PreTrainedModel, Any]:
    """A model in training mode with nothing that learns yet, and its processor. On the CPU, from where the Trainer puts
    it on the device of its own process.

    dtype: `auto` or `float32`. merged: adapter that is made part of the weights. Raises ModelLoadError.
    """
    placement = choose_placement(device="auto", dtype=dtype, attention="sdpa")
    placement = replace(placement, device=torch.device("cpu"))
    loaded = load_model(start.model_name, adapter=merged, placement=placement)
    model: Any = loaded.model
    model.train().requires_grad_(requires_grad=False)
    return model, loaded.processor


def with_lora(
    model: PreTrainedModel, start: EngineChoice, *, rank: int, alpha: int, targets: str = LANGUAGE_LINEAR
) -> nn.Module:
    """The model with an adapter that learns: the one that `start` has, else a new one on the modules that the pattern
    `targets` names. Raises ModelLoadError if the adapter is another model's, ConfigError if nothing fits the pattern.
    """
    if start.adapter is not None:
        check_adapter_base(start.adapter, base=start.model_name, base_folder=Path(start.model_name).expanduser())
        with foreign_errors(f"{start.adapter} as an adapter of {start.model_name}"):
            return PeftModel.from_pretrained(model, start.adapter, is_trainable=True)
    if targets != "all-linear" and not any(re.fullmatch(targets, name) for name, _ in model.named_modules()):
        raise ConfigError(
            f"No module of {start.model_name} is named as the pattern {targets!r} says. Give another pattern as "
            "training.lora_targets, or all-linear."
        )
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, task_type="CAUSAL_LM"))


def share_batch(batch_size: int, micro_batch_size: int) -> tuple[int, int]:
    """How a batch is computed by each of the processes: rows at once, and how many times. Raises ConfigError."""
    share, rest = divmod(batch_size, num_processes())
    if rest:
        raise ConfigError(
            f"training.batch_size is {batch_size}, which {num_processes()} processes cannot share alike. "
            "Choose a multiple of their number."
        )
    micro = max(size for size in range(1, min(micro_batch_size, share) + 1) if share % size == 0)
    return micro, share // micro


class TrainerSettings(Section):
    """What every training can be told; a training adds its own fields, and defaults of its own."""

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of computations; auto: bfloat16 on a GPU that has it. CPUs with AVX-512 BF16 have it too."
    )
    lora_rank: int = Field(32, ge=1)
    lora_alpha: int = Field(64, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    epochs: float = Field(1.0, gt=0)
    batch_size: int = Field(32, ge=1, description="Rows per optimizer step, all processes together.")
    micro_batch_size: int = Field(32, ge=1, description="Rows computed at once by one process; lower it for memory.")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which the rate rises.")
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    checkpoint_every: int = Field(100, ge=1, description="Optimizer steps between checkpoints.")
    gradient_checkpointing: bool = Field(default=False, description="Less memory, about a third slower.")

    def num_steps(self, num_rows: int) -> int:
        """Optimizer steps for so many rows, at least 1."""
        return max(1, round(self.epochs * num_rows / self.batch_size))


def trainer_arguments(settings: TrainerSettings, folder: Path, *, seed: int, num_steps: int) -> dict[str, Any]:
    """Arguments of transformers' Trainer that trainings share: cosine schedule, checkpoints, losses logged as they are.

    Raises ConfigError if processes cannot share a batch.
    """
    micro, accumulation = share_batch(settings.batch_size, settings.micro_batch_size)
    has_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "max_steps": num_steps,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(settings.warmup_share * num_steps),
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": seed,
        "use_cpu": not has_gpu,
        "bf16": settings.precision == "bfloat16"
        or (settings.precision == "auto" and has_gpu and torch.cuda.is_bf16_supported()),
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every,
        "save_total_limit": 2,
        "remove_unused_columns": False,
        "report_to": "none",
        "dataloader_pin_memory": has_gpu,
        "disable_tqdm": False,
    }


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint: the Trainer writes its state last, so one that a kill left unfinished has none, or
    one that is cut short.
    """
    whole = [path for path in folder.glob("checkpoint-*") if _is_json(path / TRAINER_STATE_NAME)]
    return str(max(whole, key=lambda path: int(path.name.partition("-")[2]))) if whole else None


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def save_result(trainer: Trainer, processor: Any, folder: Path, *, base: str) -> None:  # noqa: ANN401 - transformers' Any
    """Write the result, whole or not at all, and drop the checkpoints; all processes return when it is there.

    base: the model that was trained. Beside an adapter its weights' fingerprint is kept if they lie in a folder.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    if is_first_process():
        shutil.rmtree(unfinished, ignore_errors=True)
    trainer.save_model(str(unfinished))
    if is_first_process():
        processor.save_pretrained(unfinished)
        if (unfinished / "adapter_config.json").exists() and (weights := fingerprint_weights(Path(base).expanduser())):
            write_json(unfinished / BASE_FILE, {"name": base, "weights": weights})
        unfinished.rename(folder)
        shutil.rmtree(folder.parent / "checkpoints", ignore_errors=True)
    wait_for(folder)


def limit_to_one_gpu(arguments: Any) -> None:  # noqa: ANN401 - transformers' arguments, which have no switch for it
    """Have a process train on one GPU: with more in sight the Trainer would cut batches by rows, which pixels lack."""
    arguments._n_gpu = min(1, arguments.n_gpu)  # noqa: SLF001 - see above
