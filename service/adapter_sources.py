"""Where adapters may come from: the setting that names those of the start, and the folder that requests load from.

Whoever may send a request is not trusted with the file system: what a request names must lie inside the folder after
every `..` and symbolic link is followed, its files too. What the operator's setting names is taken as it is.
"""

import os
import re
from pathlib import Path

from genrm.calibration import CALIBRATION_FILE
from genrm.fingerprints import BASE_FILE
from service.errors import RefusalError, StartError
from service.settings import Settings
from service.validation import shorten

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}")
_NAME_RULE = "1 to 128 letters, digits, '.', '_', '-', '+', ':' and '/', a letter or digit first"
_FILES = ("adapter_config.json", "adapter_model.safetensors", BASE_FILE, CALIBRATION_FILE)


def parse_adapters(settings: Settings) -> dict[str, str]:
    """By name the folder or hub id of every adapter of the start. Raises StartError if the settings of adapters cannot
    be read, contradict each other, or name a folder that is not there.
    """
    if settings.adapter_folder is not None and not Path(settings.adapter_folder).is_dir():
        raise StartError(
            f"GENRM_ADAPTER_FOLDER is {settings.adapter_folder!r}, and there is no such folder. Make it, or "
            "correct the setting."
        )
    if settings.engine_url is not None and (settings.adapters or settings.adapter_folder):
        raise StartError(
            "GENRM_ADAPTERS or GENRM_ADAPTER_FOLDER is given together with GENRM_ENGINE_URL; the server loads its own "
            "adapters. Drop one; requests may name every model that the server lists."
        )
    found: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in (settings.adapters or "").split(","))):
        name, _, source = (part.strip() for part in pair.partition("="))
        if not _NAME.fullmatch(name) or not source:
            raise StartError(
                f"GENRM_ADAPTERS has {pair!r}; write name=folder-or-hub-id, with commas between several. A name has "
                f"{_NAME_RULE}."
            )
        if name in found:
            raise StartError(f"GENRM_ADAPTERS has the name {name!r} twice. Give every adapter a name of its own.")
        found[name] = source
    if len(found) > settings.max_adapters:
        raise StartError(
            f"GENRM_ADAPTERS has {len(found)} adapters; the limit is {settings.max_adapters}. Name fewer, or raise "
            "GENRM_MAX_ADAPTERS."
        )
    return found


def check_adapter_name(name: str) -> None:
    """Raise RefusalError if a request gives an adapter a name that none can have."""
    if not _NAME.fullmatch(name):
        raise RefusalError(
            "invalid_value", f"Field 'lora_name' is {shorten(name)!r}; a name has {_NAME_RULE}.", param="lora_name"
        )


def require_adapter_folder(settings: Settings) -> Path:
    """The folder that requests may load adapters from. Raises RefusalError where there is none."""
    if settings.adapter_folder is None:
        raise RefusalError(
            "no_adapter_folder",
            "This service loads and unloads no adapters on request. Start it with GENRM_ADAPTER_FOLDER, the folder "
            "that they lie in.",
        )
    return Path(settings.adapter_folder).resolve()


def find_adapter(root: Path, path: str) -> Path:
    """The folder of an adapter that a request names, every link followed.

    root: the folder that it must lie in, resolved. path: relative to it, or absolute. Raises RefusalError if it lies
    elsewhere or is no folder, or if one of its files lies elsewhere; of what is elsewhere nothing is told.
    """
    folder = root
    try:
        folder = (root / path).resolve()
        inside = folder.is_relative_to(root) and all((folder / file).resolve().is_relative_to(root) for file in _FILES)
        is_folder = inside and folder.is_dir()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name that is too long, a null character
        inside = is_folder = False
    if not inside:
        raise RefusalError(
            "invalid_value",
            f"The adapter {shorten(path)!r} does not lie in the service's folder of adapters. Name one that does, "
            "relative to it and without links that lead out of it.",
            param="lora_path",
        )
    if not is_folder:
        raise RefusalError(
            "invalid_value",
            f"There is no folder {shorten(path)!r} in the service's folder of adapters. Name one that is there, "
            "relative to it.",
            param="lora_path",
        )
    return folder


def hide_root(message: str, root: Path) -> str:
    """A message about an adapter without the part of its path that is nobody's business."""
    return message.replace(f"{root}{os.sep}", "").replace(str(root), ".")
