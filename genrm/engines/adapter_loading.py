"""Reading a LoRA adapter for a model that is already running: checked whole before anything of it is used.

PEFT itself puts the adapter on a *skeleton*, a model of the same shape without memory (torch's meta device), so which
layers it changes, and how much, is decided by the code that trains adapters and merges them; what is kept of it are the
small matrices. The running model is only asked where its weights are. Nothing here may change what is global in torch,
since the model runs meanwhile in another thread: that is why the skeleton is built before it does, as transformers
changes the default number format while it builds one, and why PEFT's `low_cpu_mem_usage`, which patches every
module's constructor, is not used to build with.

Refused here, while `GENRM_ADAPTER` takes it: what is more than low-rank changes of linear layers (DoRA, biases, whole
modules, embeddings), and weights in a pickle.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, PreTrainedModel

from genrm.engines.architecture import VisionLanguageModel
from genrm.engines.loading import check_adapter_base, foreign_errors
from genrm.engines.lora import Adapter, Delta
from genrm.engines.model_files import check_weights, display_name, find_folder, read_json
from genrm.errors import ModelLoadError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_INITIALISATIONS = (True, False, "gaussian", "eva", "orthogonal")
"""Those that leave the model's own weights as they are; with the others an adapter is trained on changed ones."""
_UNSUPPORTED = ("modules_to_save", "layer_replication", "target_parameters", "trainable_token_indices", "use_dora")
_MERGE = "Merge it into the model, or serve it with GENRM_ADAPTER."
_SHOWN = 3

_log = logging.getLogger(__name__)


def build_skeleton(model: VisionLanguageModel) -> PreTrainedModel:
    """A model of the same shape without memory. Not to be called while a model runs; see the module."""
    with torch.device("meta"):
        skeleton: PreTrainedModel = AutoModelForImageTextToText.from_config(copy.deepcopy(model.config))
    return skeleton


def read_adapter(
    source: str,
    *,
    name: str,
    base: str,
    is_base_changed: bool,
    model: VisionLanguageModel,
    skeleton: PreTrainedModel,
) -> Adapter:
    """A new version of an adapter, its matrices on the model's device and in its number format.

    source: a folder or hub id. name: what requests call it. base: name of the model, which the adapter must have been
    trained on. is_base_changed: whether its weights are no longer those of its folder. skeleton: of the model; it stays
    as it is. Raises ModelLoadError, naming what is wrong with which file.
    """
    base_folder = None if is_base_changed else Path(base).expanduser()
    base = display_name(base)
    with foreign_errors(f"{source} as an adapter of {base}"):
        folder = find_folder(source) or _download(source)
        config = _read_config(folder)
        check_weights(folder / WEIGHTS_FILE)
        check_adapter_base(source, base=base, base_folder=base_folder)
        weights = load((folder / WEIGHTS_FILE).read_bytes())  # not mapped: the file may be overwritten one day
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PEFT about transformers, and about choices made in training
            layers = _put_on_skeleton(folder, config, weights, skeleton, base=base)
        deltas = {
            path: _build_delta(down_KI, up_OK, scaling, like=model.get_submodule(path))
            for path, down_KI, up_OK, scaling in layers
        }
    for path, delta in deltas.items():
        if not (delta.down_KI.isfinite().all() and delta.up_OK.isfinite().all()):
            raise ModelLoadError(
                f"{folder / WEIGHTS_FILE} has values for {path} that are no finite numbers, at least as "
                f"{delta.up_OK.dtype}. Take an earlier checkpoint of the training."
            )
    adapter = Adapter(name=name, source=source, deltas=deltas)
    _log.info("Read adapter %s from %s: version %d, layers %d", name, source, adapter.version, len(deltas))
    return adapter


def _download(hub_id: str) -> Path:
    return Path(snapshot_download(hub_id, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))


def _read_config(folder: Path) -> LoraConfig:
    """The adapter's configuration. Raises ModelLoadError if it is not one of a plain LoRA adapter."""
    file = folder / CONFIG_FILE
    raw = read_json(file)
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise ModelLoadError(f"{file} says peft_type {kind!r}; adapters of requests are LORA. {_MERGE}")
    ranks = [raw.get("r"), *(raw.get("rank_pattern") or {}).values()]
    for rank in ranks:
        if not isinstance(rank, int) or rank < 1:
            raise ModelLoadError(f"{file} says rank {rank!r}; a rank is a whole number of at least 1. Train it again.")
    extra = [name for name in _UNSUPPORTED if raw.get(name)]
    if raw.get("bias", "none") != "none":
        extra.append("bias")
    if raw.get("init_lora_weights", True) not in _INITIALISATIONS:
        extra.append(f"init_lora_weights {raw['init_lora_weights']!r}")
    if extra:
        raise ModelLoadError(
            f"{file} uses {', '.join(extra)}; adapters of requests change linear layers by low-rank matrices and "
            f"nothing else. {_MERGE}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a newer PEFT's fields, which have no say in what is used here
        config: LoraConfig = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = True
    config.init_lora_weights = False
    return config


def _put_on_skeleton(
    folder: Path, config: LoraConfig, weights: dict[str, Tensor], skeleton: PreTrainedModel, *, base: str
) -> list[tuple[str, Tensor, Tensor, float]]:
    """By layer its path in the model, both matrices as they were saved, and the factor of their product."""
    try:
        with torch.device("meta"):
            adapted = PeftModel(copy.deepcopy(skeleton), config)
    except ValueError as error:
        _log.exception("Adapter %s has no place on %s", folder, base)
        raise ModelLoadError(
            f"{folder / CONFIG_FILE} names target_modules of which {base} has none, or of a kind that LoRA does not "
            "change. Check that it was trained on that model; the cause is logged."
        ) from error
    tuners = list(_find_tuners(adapted, folder))
    for _, tuner in tuners:  # PEFT moves matrices to where the layer's weight is, be it nowhere
        tuner.get_base_layer().weight = nn.Parameter(torch.empty(0), requires_grad=False)
    file = folder / WEIGHTS_FILE
    try:
        placed: Any = set_peft_model_state_dict(adapted, weights, low_cpu_mem_usage=True)
    except RuntimeError as error:  # what torch raises for shapes
        _log.exception("The weights of adapter %s do not fit %s", folder, base)
        raise ModelLoadError(
            f"{file} has matrices of other shapes than {base} and the rank in {CONFIG_FILE} ask for. It was trained on "
            "another model, or the two files do not belong together; the cause is logged."
        ) from error
    _refuse_if_any(placed.unexpected_keys, f"{file} has tensors that belong to no layer it targets in {base}")
    [key] = adapted.peft_config
    layers = [
        (path, tuner.lora_A[key].weight.detach(), tuner.lora_B[key].weight.detach(), float(tuner.scaling[key]))
        for path, tuner in tuners
    ]
    missing = [path for path, down_KI, up_OK, _ in layers if down_KI.is_meta or up_OK.is_meta]
    _refuse_if_any(missing, f"{file} lacks the matrices of layers that {CONFIG_FILE} targets")
    return layers


def _find_tuners(adapted: PeftModel, folder: Path) -> Iterator[tuple[str, Any]]:
    """The layers that the adapter changes, by their paths in the model."""
    inner: Any = adapted.base_model
    for path, layer in inner.model.named_modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        tuner: Any = layer
        is_linear = type(layer) is LoraLinear  # and no class derived from it
        if not is_linear or tuner.lora_variant or any(tuner.lora_bias.values()):
            raise ModelLoadError(
                f"{folder / CONFIG_FILE} changes {path} by more than low-rank matrices of a linear layer. {_MERGE}"
            )
        yield path, tuner


def _build_delta(down_KI: Tensor, up_OK: Tensor, scaling: float, *, like: Any) -> Delta:  # noqa: ANN401 - a layer
    weight: Tensor = like.weight
    return Delta(down_KI=down_KI.to(weight).contiguous(), up_OK=(up_OK.float() * scaling).to(weight))


def _refuse_if_any(names: list[str], problem: str) -> None:
    if names:
        shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
        raise ModelLoadError(f"{problem}: {shown}. Check that it was trained on that model and saved whole.")
