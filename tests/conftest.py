"""What holds for every test: no network, no telemetry, and settings of the developer's own shell do not leak in."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

# Set before any test module imports transformers, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
# Also for services that fixtures of a whole session start: the user's own database is not for tests.
os.environ["GENRM_DATABASE_URL"] = "none"
# Building the page takes a second of every application; the playground's own tests ask for it.
os.environ["GENRM_PLAYGROUND"] = "off"
# Several processes run the tests: each has one core, since threads that wait for a core stall those that have one.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A machine that is busy with something else is no defect.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is marked `alone` while no other process runs one."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    folder = Path(item.config.option.basetemp).parent  # of all processes
    with hold_machine(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def hold_machine(folder: Path, *, alone: bool) -> Iterator[None]:
    """Have the machine, shared with others or alone; wait for it if need be.

    Who waits holds the queue, so that others who share the machine do not go on for ever before one who wants it alone.
    """
    import fcntl

    with (folder / "queue.lock").open("w") as queue, (folder / "machine.lock").open("w") as machine:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)  # closing is not enough where a test has forked


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop `GENRM_…` variables, so that a test sees the defaults unless it sets some itself."""
    for name in [name for name in os.environ if name.startswith("GENRM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GENRM_DATABASE_URL", "none")  # the developer's own is not for tests; those of batches set one
    monkeypatch.setenv("GENRM_PLAYGROUND", "off")
