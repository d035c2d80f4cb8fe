"""A job that `accelerate launch` runs in several processes: the first one works alone where only one can, others wait.

Waiting is for a file of the run folder and not for a collective operation, whose time limit sampling would exceed. If
the first process fails, the launcher ends those that wait.
"""

import os
import time
from pathlib import Path


def num_processes() -> int:
    """Processes of this job; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this process is the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def wait_for(path: Path, *, poll_seconds: float = 1.0) -> None:
    """Return when the first process has put a file or folder in its place."""
    while not path.exists():
        time.sleep(poll_seconds)
