"""What can be known of a running engine beyond its contract: what waits, whether it moves, and where it runs.

Only the in-process engine tells; of any other (a remote server, a fake) nothing is claimed.
"""

from typing import Protocol, runtime_checkable

from genrm.engines.progress import EngineStats


class PlacementReason(Protocol):
    """Where a model runs, with the reasons in words."""

    @property
    def reason(self) -> str:
        """Device, number format and threads, and why these."""


@runtime_checkable
class ObservableEngine(Protocol):
    """An engine that lets itself be observed from any thread."""

    @property
    def placement(self) -> PlacementReason | None:
        """None while no model is loaded."""

    @property
    def has_died(self) -> bool:
        """Whether it has stopped working for good."""

    def seconds_since_progress(self) -> float:
        """How long nothing was finished although there is work; 0 while there is none."""

    def stats(self) -> EngineStats:
        """What runs and waits now."""


def find_stall_seconds(engine: object) -> float:
    """How long the engine has had work and finished nothing of it; 0 if it is idle or does not say."""
    return engine.seconds_since_progress() if isinstance(engine, ObservableEngine) else 0.0


def has_died(engine: object) -> bool:
    """Whether the engine has stopped working for good; False if it does not say."""
    return isinstance(engine, ObservableEngine) and engine.has_died


def count_waiting(engine: object) -> int:
    """Prompts that wait for the engine's worker; 0 if it does not say."""
    return engine.stats().num_waiting_rows if isinstance(engine, ObservableEngine) else 0


def describe_placement(engine: object) -> str:
    """Where the model runs and why, in words."""
    if isinstance(engine, ObservableEngine) and engine.placement is not None:
        return engine.placement.reason
    return "device unknown (the model runs elsewhere)"
