"""Looking at a model or adapter folder before it is loaded, so that what is wrong is said in words that name the file.

transformers would load a folder with missing weights (and make them up), and report a truncated file in a library's
words. Hub ids are not checked here: the hub's client verifies what it downloads.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from genrm.errors import ModelLoadError

SUPPORTED_MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl")
"""`model_type` of the architectures that the in-process engine runs."""

_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_COPY_AGAIN = "Copy or download the folder again, complete."


def find_folder(name: str) -> Path | None:
    """The local folder that `name` means, or None if it can only be a hub id ("owner/name").

    Raises ModelLoadError if it looks like a path but there is no such folder.
    """
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path
    if path.is_file():
        raise ModelLoadError(f"{name} is a file; a model is a folder or a hub id. Give the folder that holds it.")
    if not name or path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelLoadError(
            f"There is no model folder {name!r}. Give a folder that transformers can load, or a hub id such as "
            "Qwen/Qwen2.5-VL-7B-Instruct."
        )
    return None


def display_name(name: str) -> str:
    """What is shown of a model: a hub id as it is, of a folder its last part (paths are nobody's business)."""
    path = Path(name).expanduser()
    return path.resolve().name if path.is_dir() else name


def check_model_folder(folder: Path) -> None:
    """Raise ModelLoadError, naming file and remedy, unless the folder holds a whole model that the engine runs."""
    check_model_type(read_json(folder / "config.json").get("model_type"), where=str(folder / "config.json"))
    _require_one_of(folder, _TOKENIZER_FILES, what="the tokenizer")
    _require_one_of(folder, _PROCESSOR_FILES, what="the image processor's settings")
    for file in _weight_files(folder):
        check_weights(file)


def check_adapter_folder(folder: Path) -> None:
    """Raise ModelLoadError, naming file and remedy, unless the folder holds a whole PEFT adapter."""
    read_json(folder / "adapter_config.json")
    if not (folder / "adapter_model.bin").is_file():
        check_weights(folder / "adapter_model.safetensors")


def check_model_type(model_type: object, *, where: str) -> None:
    """Raise ModelLoadError unless the engine runs this architecture. where: what said so, for the message."""
    if model_type not in SUPPORTED_MODEL_TYPES:
        raise ModelLoadError(
            f"{where} says model_type {model_type!r}; the in-process engine runs "
            f"{' and '.join(SUPPORTED_MODEL_TYPES)}. Serve other models with an OpenAI-compatible server and connect "
            "to it."
        )


def check_weights(file: Path) -> None:
    """Raise ModelLoadError unless the safetensors file is there and as long as its header says."""
    if not file.is_file():
        raise ModelLoadError(f"{file} is missing. {_COPY_AGAIN}")
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(
            f"{file} ({file.stat().st_size:,} bytes) is truncated or damaged, or a mere pointer to the real file. "
            f"{_COPY_AGAIN}"
        ) from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ModelLoadError if it is missing or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelLoadError(f"{file} is missing. {_COPY_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{file} cannot be read as JSON. {_COPY_AGAIN}") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"{file} does not hold a JSON object. {_COPY_AGAIN}")
    return content


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files that must be there; none for a folder in the older format, which transformers checks."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise ModelLoadError(f"{index} has no weight_map. {_COPY_AGAIN}")
        return sorted({folder / str(name) for name in weight_map.values()})
    if not (folder / "model.safetensors").exists() and any(folder.glob("pytorch_model*.bin")):
        return []
    return [folder / "model.safetensors"]


def _require_one_of(folder: Path, names: tuple[str, ...], *, what: str) -> None:
    if not any((folder / name).is_file() for name in names):
        raise ModelLoadError(f"{folder} lacks {what} ({' or '.join(names)}). {_COPY_AGAIN}")
