"""Where the models that ship with the package lie, and a few comparisons for first steps.

Models are ordinary folders that `from_pretrained` loads; a hub id or any other folder takes their place by
configuration.
"""

from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"


def judge_folder() -> Path:
    """The judge that is used when none is configured. Its card is `README.md` in that folder."""
    return _WEIGHTS / "judge"


def base_folder() -> Path:
    """The base model that the shipped judge was trained from."""
    return _WEIGHTS / "base"


def policy_folder() -> Path:
    """The policy that preference training starts from: the base, taught to answer shortly."""
    return _WEIGHTS / "policy"


def expert_folder() -> Path:
    """The vision expert that is used beside the shipped judge."""
    return _WEIGHTS / "expert"


def samples_folder() -> Path:
    """Comparisons of the pocket world: PNG files, and `rows.jsonl` with VL-RewardBench's field names."""
    return Path(__file__).parent / "samples"
