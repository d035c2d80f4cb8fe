"""Loading a vision-language model with its processor and, if wanted, an adapter: where, in which precision, and why.

A detected setting comes with its reason in words; the reasons are logged once. Everything that can be wrong with a
folder ends as ModelLoadError that names file and remedy. Missing weights are an error here: transformers would draw
them at random and only warn.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from genrm.engines.architecture import Processor, VisionLanguageModel
from genrm.engines.model_files import (
    check_adapter_folder,
    check_model_folder,
    check_model_type,
    display_name,
    find_folder,
    read_json,
)
from genrm.errors import ModelLoadError
from genrm.fingerprints import BASE_FILE, fingerprint_weights

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ATTENTIONS = ("sdpa", "eager")
_NAME_OF_RESULTS = "model"
"""The folder that every training of `training` leaves its result in."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a model runs and how, with the reasons in words."""

    device: torch.device
    dtype: torch.dtype
    attention: str
    num_threads: int
    """Threads of one operation on the CPU."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A model that is ready to run."""

    model: VisionLanguageModel
    processor: Processor
    placement: Placement
    stop_ids: frozenset[int]
    """Tokens that end a text."""


def choose_placement(*, device: str, dtype: str, attention: str) -> Placement:
    """Decide where and how to run.

    device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. dtype: `auto` or a key of `DTYPES`. attention: one of `ATTENTIONS`.
    Raises ModelLoadError for a device that is not there or a name that is not known.
    """
    chosen_device, device_reason = _choose_device(device)
    chosen_dtype, dtype_reason = _choose_dtype(dtype, chosen_device)
    if attention not in ATTENTIONS:
        raise ModelLoadError(
            f"Attention {attention!r} is not known; the engine runs {' or '.join(ATTENTIONS)}. Choose one of them."
        )
    num_threads, threads_reason = _choose_threads(chosen_device)
    return Placement(
        device=chosen_device,
        dtype=chosen_dtype,
        attention=attention,
        num_threads=num_threads,
        reason=f"device {chosen_device} ({device_reason}), "
        f"{str(chosen_dtype).removeprefix('torch.')} ({dtype_reason}), "
        f"{attention} attention, CPU threads {num_threads} ({threads_reason})",
    )


def load_model(name: str, *, adapter: str | None = None, placement: Placement) -> LoadedModel:
    """Load a model folder or hub id, merge the adapter into it if one is given, and put it where it runs.

    name, adapter: a folder or a hub id. Raises ModelLoadError.
    """
    folder = find_folder(name)
    adapter_folder = find_folder(adapter) if adapter else None
    if folder:
        check_model_folder(folder)
    if adapter_folder:
        check_adapter_folder(adapter_folder)
    with foreign_errors(name), no_progress_bars(hidden=folder is not None):
        if not folder:
            check_model_type(AutoConfig.from_pretrained(name).model_type, where=name)
        processor = AutoProcessor.from_pretrained(folder or name)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder or name, dtype=placement.dtype, attn_implementation=placement.attention, output_loading_info=True
        )
    model, info = loaded
    _check_loaded(name, model, processor, missing=sorted(info["missing_keys"]))
    if adapter:
        check_adapter_base(adapter, base=name, base_folder=folder)
        model = _merge_adapter(model, adapter_folder or adapter, base=name)
    try:
        model = model.to(placement.device).eval().requires_grad_(False)  # noqa: FBT003 - torch's signature
    except torch.OutOfMemoryError as error:
        raise ModelLoadError(
            f"{name} does not fit in the memory of {placement.device}. Use a smaller model, dtype bfloat16, or another "
            "device."
        ) from error
    _log.info("Loaded %s%s: %s", name, f" with adapter {adapter}" if adapter else "", placement.reason)
    return LoadedModel(
        model=model, processor=processor, placement=placement, stop_ids=_find_stop_ids(model, processor.tokenizer)
    )


def _choose_device(wanted: str) -> tuple[torch.device, str]:
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), f"found {torch.cuda.get_device_name()}"
        return torch.device("cpu"), "no CUDA device is visible"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ModelLoadError(f"Device {wanted!r} is not known. Choose auto, cpu, cuda, cuda:N or mps.") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ModelLoadError(
            f"Device {wanted!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices. "
            "Choose auto or cpu, or install a torch build for the device."
        )
    return device, "as asked for"


def _choose_dtype(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    if wanted != "auto":
        if wanted not in DTYPES:
            raise ModelLoadError(f"Dtype {wanted!r} is not known. Choose auto, {', '.join(DTYPES)}.")
        return DTYPES[wanted], "as asked for"
    if device.type != "cuda":
        return torch.float32, f"the exact choice on {device.type}"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16, "the GPU computes in it, at half the memory of float32"
    return torch.float32, "the GPU has no bfloat16"


def _choose_threads(device: torch.device) -> tuple[int, str]:
    """What torch chooses, unless the container may use fewer CPUs: a thread that waits for a CPU stalls all others."""
    num_threads = torch.get_num_threads()
    if device.type != "cpu":
        return num_threads, "torch's default; the work is on the device"
    if os.environ.get("OMP_NUM_THREADS"):
        return num_threads, "OMP_NUM_THREADS is set"
    quota = _read_cpu_quota()
    if quota and quota < num_threads:
        return quota, f"the container's CPU quota, of {num_threads} cores"
    return num_threads, "all cores"


def _read_cpu_quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Whole CPUs that the control group may use, at least 1; None without a limit."""
    try:
        quota, period = file.read_text(encoding="ascii").split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None


def _check_loaded(name: str, model: VisionLanguageModel, processor: Processor, *, missing: list[str]) -> None:
    if missing:
        raise ModelLoadError(
            f"The weights of {name} lack {len(missing)} of the model's tensors, {missing[0]} for one. Save the model "
            "again, whole."
        )
    if not processor.chat_template:
        raise ModelLoadError(f"{name} has no chat template (chat_template.jinja). Add the one it was trained with.")
    if set(getattr(model.config.text_config, "layer_types", None) or ()) - {"full_attention"}:
        raise ModelLoadError(
            f"{name} uses sliding-window attention, which the in-process engine does not run. Set use_sliding_window "
            "to false in its config.json if it was trained so, or serve it with vLLM."
        )


def check_adapter_base(adapter: str, *, base: str, base_folder: Path | None) -> None:
    """Raise ModelLoadError, with both names, if the adapter says that it was trained on another model than `base`.

    base_folder: where the base's weights would lie; None for weights that lie nowhere. Where the adapter's folder has
    the fingerprint of what it was trained on, that decides. Else models are told apart by the last part of their names,
    since the same weights lie in different places; but trainings call every result `model`, so of these the folders, or
    the weights in them, must be the same where the adapter's own can still be looked at.
    """
    folder = find_folder(adapter)
    with foreign_errors(adapter):
        own = PeftConfig.from_pretrained(str(folder or adapter)).base_model_name_or_path
        known = _read_fingerprint(folder) if folder and base_folder else ""
        found = fingerprint_weights(base_folder) if known and base_folder else ""
        if known and found:
            fits, difference = known == found, f", whose weights have another fingerprint ({found}, not {known})"
            remedy = f"saved in another way, remove {BASE_FILE} from the adapter's folder"
        else:
            fits, difference = not own or _may_be_the_same(own, base, base_folder), ""
            remedy = "correct base_model_name_or_path in its adapter_config.json"
    if not fits:
        raise ModelLoadError(
            f"The adapter {adapter} was trained on {own}, not on {base}{difference}. Choose that model or another "
            f"adapter; if both names mean the same weights, {remedy}."
        )


def _read_fingerprint(adapter_folder: Path) -> str:
    """Of the weights that an adapter was trained on; empty if its folder does not say. Raises ModelLoadError."""
    file = adapter_folder / BASE_FILE
    return str(read_json(file).get("weights") or "") if file.is_file() else ""


def _may_be_the_same(own: str, base: str, base_folder: Path | None) -> bool:
    """Whether an adapter's `own` base can be `base`, by their names and where these say nothing by their folders."""
    name = Path(display_name(base)).name.casefold()
    if Path(own).name.casefold() != name:
        return False
    if name != _NAME_OF_RESULTS or base_folder is None or not base_folder.is_dir():
        return True
    own_folder = Path(own).expanduser()
    if own_folder.resolve() == base_folder.resolve():
        return True
    weights = fingerprint_weights(own_folder)
    return not weights or weights == fingerprint_weights(base_folder)  # what lies nowhere here may have been moved


def _merge_adapter(model: PreTrainedModel, adapter: Path | str, *, base: str) -> PreTrainedModel:
    """The model with the adapter's changes added to its weights, so that it runs as fast as without."""
    with warnings.catch_warnings(), foreign_errors(f"{adapter} as an adapter of {base}"):
        warnings.simplefilter("ignore", FutureWarning)  # that PEFT lags behind transformers is nobody's business here
        # PEFT only warns where weights are missing: that would be a judge without its training.
        warnings.filterwarnings("error", message=".*missing adapter keys")
        merged: PreTrainedModel = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        return merged


def _find_stop_ids(model: VisionLanguageModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """What `generate` stops at, and the tokenizer's end of a turn."""
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*ids, tokenizer.eos_token_id] if token is not None)


@contextmanager
def foreign_errors(what: str) -> Iterator[None]:
    """Turn what libraries raise while loading into ModelLoadError; the original is its cause."""
    try:
        yield
    except ModelLoadError:
        raise
    except Exception as error:
        _log.exception("Loading %s failed", what)
        raise ModelLoadError(
            f"{what} cannot be loaded ({type(error).__name__}). Check that the folder is complete and fits its "
            "config.json; for a hub id, check its spelling, the network, and HF_HUB_OFFLINE. The cause is logged."
        ) from error


@contextmanager
def no_progress_bars(*, hidden: bool) -> Iterator[None]:
    """Keep bars off the screen while a local folder is read; a download may show its own."""
    shown = transformers_logging.is_progress_bar_enabled()
    if hidden:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if hidden and shown:
            transformers_logging.enable_progress_bar()
