"""What holds for every test: no network, no telemetry, and settings of the developer's own shell do not leak in."""

import os

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


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop `GENRM_…` variables, so that a test sees the defaults unless it sets some itself."""
    for name in [name for name in os.environ if name.startswith("GENRM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GENRM_DATABASE_URL", "none")  # the developer's own is not for tests; those of batches set one
    monkeypatch.setenv("GENRM_PLAYGROUND", "off")
