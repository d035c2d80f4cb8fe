"""Fixtures of the job tests: the tiny job beside this file, in this process and as a command."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the tiny job, which jobs and studies find as `tiny_job`."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module("tiny_job")


@pytest.fixture
def tiny_command() -> list[str]:
    """`vl-genrm train` with the tiny job, as a process of its own."""
    return [sys.executable, str(FOLDER / "tiny_job.py")]
