"""What is asked for at every scrape: whether the service is ready, and what its engine does, if that tells."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from genrm.engines.fake import FakeEngine
from genrm.engines.progress import EngineStats
from service.app import create_app
from service.live_series import LiveSeries
from service.settings import load_settings


@dataclass
class Place:
    """Where an observed engine runs."""

    reason: str = "device cpu"


class BusyEngine(FakeEngine):
    """Tells how it does, as the in-process engine."""

    placement = Place()
    has_died = False

    def seconds_since_progress(self) -> float:
        """It has stood still for a while."""
        return 12.5

    def stats(self) -> EngineStats:
        """Two rows run, three wait, one batch failed."""
        return EngineStats(num_running_rows=2, num_waiting_rows=3, num_failed_batches=1)


def test_an_engine_that_tells_is_shown_with_what_runs_waits_and_failed() -> None:
    registry = CollectorRegistry()
    registry.register(LiveSeries(lambda: True, BusyEngine))
    assert registry.get_sample_value("genrm_batch_rows", {"state": "running"}) == 2
    assert registry.get_sample_value("genrm_batch_rows", {"state": "waiting"}) == 3
    assert registry.get_sample_value("genrm_worker_stall_seconds") == 12.5
    assert registry.get_sample_value("genrm_engine_failures_total") == 1


def test_of_an_engine_that_does_not_tell_nothing_is_claimed() -> None:
    registry = CollectorRegistry()
    registry.register(LiveSeries(lambda: True, FakeEngine))
    assert {family.name for family in registry.collect()} == {"genrm_ready"}


async def test_readiness_is_1_only_while_judgements_are_taken() -> None:
    app = create_app(load_settings(), lambda *_: FakeEngine(), lambda *_: None)
    registry = app.state.metrics.registry
    assert registry.get_sample_value("genrm_ready") == 0
    async with app.router.lifespan_context(app):
        await app.state.lifecycle.wait_until_loaded()
        assert registry.get_sample_value("genrm_ready") == 1
        app.state.lifecycle.stop_accepting()
        assert registry.get_sample_value("genrm_ready") == 0
