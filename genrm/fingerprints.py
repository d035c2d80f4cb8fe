"""Telling the weights of one model or adapter from those of another, whatever its folder is called.

Not a checksum of whole files: that of a large model would take minutes at every start.
"""

import hashlib
from pathlib import Path

BASE_FILE = "base_model.json"
"""Beside an adapter that was trained here: `name` of its base as the training was given it, and `weights`, the base's
fingerprint. PEFT keeps no entries of ours in `adapter_config.json`.
"""

_SAMPLED_BYTES = 2**20


def fingerprint_weights(folder: Path) -> str:
    """Tells the weights of a model folder from others: size, beginning and end of every file of tensors. Empty for
    anything else, e.g. a hub id. Cheap also for many gigabytes; training changes every part of a file. Raises OSError
    for a file that cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    files = sorted(path for path in folder.glob("*.safetensors") if path.is_file()) if folder.is_dir() else []
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, size - _SAMPLED_BYTES))
            digest.update(file.read())
    return digest.hexdigest() if files else ""
