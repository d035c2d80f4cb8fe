"""Where and with what a job ran: versions, commit, machine and command line, as JSON-ready values."""

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "peft", "datasets", "accelerate")


def describe_environment(source: Path = Path(__file__)) -> dict[str, Any]:
    """What a reader needs to run the same again.

    source: a file of the code that runs; `commit` is null unless a git checkout tracks this very file, so an installed
    package never reports the commit of somebody else's repository around it. `dirty` counts changed files and new
    Python files.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "vl-genrm": _version("vl-genrm"),
        "commit": (commit := _commit(source)),
        "dirty": None if commit is None else _is_dirty(source.parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "num_cpus": os.cpu_count(),
        "gpus": _gpus(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(source: Path) -> str | None:
    is_tracked = _run("git", "ls-files", "--error-unmatch", source.name, folder=source.parent)
    return _run("git", "rev-parse", "HEAD", folder=source.parent) if is_tracked else None


def _is_dirty(folder: Path) -> bool:
    changes = (_run("git", "status", "--porcelain", "--untracked-files=all", folder=folder) or "").splitlines()
    return any(not line.startswith("??") or line.endswith(".py") for line in changes)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Name, memory and driver of each NVIDIA device. Asked of the driver: importing torch would take seconds."""
    return (
        _run("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader") or ""
    ).splitlines()


def _run(*command: str, folder: Path | None = None) -> str | None:
    """What a program prints; None if it is not installed, fails or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - our own words
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=20
        )
    except subprocess.TimeoutExpired:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
