"""Series that are asked for at every scrape instead of being counted: the service's phase and its engine's state.

Of an engine that does not let itself be observed (a remote server, a fake) nothing is claimed: its series are missing
rather than zero, so that no dashboard shows an idle worker where none is known.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.observation import ObservableEngine


class LiveSeries(Collector):
    """Reads the state of one application. is_ready: whether it takes judgements. find_engine: None at first."""

    def __init__(self, is_ready: Callable[[], bool], find_engine: Callable[[], object]) -> None:
        self._is_ready = is_ready
        self._find_engine = find_engine

    def collect(self) -> Iterator[Metric]:
        """All series, with their values of this moment."""
        yield GaugeMetricFamily("genrm_ready", "1 while judgements are taken, as /readyz.", value=self._is_ready())
        engine = self._find_engine()
        if not isinstance(engine, ObservableEngine):
            return
        stats = engine.stats()
        rows = GaugeMetricFamily("genrm_batch_rows", "Readings in the engine, by state.", labels=["state"])
        rows.add_metric(["running"], stats.num_running_rows)
        rows.add_metric(["waiting"], stats.num_waiting_rows)
        yield rows
        yield GaugeMetricFamily(
            "genrm_worker_stall_seconds",
            "How long the worker has had work and finished nothing; /livez has a limit to it.",
            value=engine.seconds_since_progress(),
        )
        yield CounterMetricFamily(
            "genrm_engine_failures", "Pieces of work in which the engine failed.", value=stats.num_failed_batches
        )
