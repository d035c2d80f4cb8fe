"""Loading a detector of transformers: where, in which precision, and with errors that name file and remedy."""

from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForObjectDetection,
    AutoModelForZeroShotObjectDetection,
    AutoProcessor,
)

from genrm.engines.loading import choose_placement, foreign_errors, no_progress_bars
from genrm.engines.model_files import check_weights, find_folder, read_json
from genrm.errors import ModelLoadError

ZERO_SHOT_TYPES = ("grounding-dino",)
CLOSED_TYPES = ("rt_detr_v2", "d_fine")
"""Architectures that were tried; others of the same interface may work and are refused until somebody has."""


def load_detector(name: str, *, kind: str, device: str, dtype: str) -> tuple[Any, Any]:
    """Model and processor of a folder or hub id, in evaluation mode, where they run.

    kind: `grounding-dino` for a model that reads phrases, `closed` for one with labels of its own. device, dtype: as
    for the judge (`genrm.engines.loading.choose_placement`). Raises ModelLoadError.
    """
    placement = choose_placement(device=device, dtype=dtype, attention="sdpa")
    folder = find_folder(name)
    allowed = ZERO_SHOT_TYPES if kind == "grounding-dino" else CLOSED_TYPES
    if folder:
        check_model_type(
            read_json(folder / "config.json").get("model_type"), allowed, where=str(folder / "config.json")
        )
        _check_weight_files(folder)
    with foreign_errors(name), no_progress_bars(hidden=folder is not None):
        if not folder:
            check_model_type(AutoConfig.from_pretrained(name).model_type, allowed, where=name)
        processors: Any = AutoProcessor if kind == "grounding-dino" else AutoImageProcessor
        models: Any = AutoModelForZeroShotObjectDetection if kind == "grounding-dino" else AutoModelForObjectDetection
        processor = processors.from_pretrained(folder or name)
        model, info = models.from_pretrained(folder or name, dtype=placement.dtype, output_loading_info=True)
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelLoadError(
            f"The weights of {name} lack {len(missing)} of the model's tensors, {missing[0]} for one. Save the model "
            "again, whole."
        )
    return model.to(placement.device).eval().requires_grad_(False), processor  # noqa: FBT003 - torch's signature


def check_model_type(model_type: object, allowed: tuple[str, ...], *, where: str) -> None:
    """Raise ModelLoadError unless the expert runs this architecture. where: what said so, for the message."""
    if model_type not in allowed:
        raise ModelLoadError(
            f"{where} says model_type {model_type!r}; this expert runs {', '.join(allowed)}. Choose another expert for "
            "it, or another model."
        )


def _check_weight_files(folder: Path) -> None:
    if not (folder / "model.safetensors.index.json").is_file():
        check_weights(folder / "model.safetensors")
