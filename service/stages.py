"""What the time of one request went into, for its trace (`service.tracing`).

A stage is noted where its time is measured anyway. Of a judgement the engine reports durations, not moments; these
follow from its order of work: experts, then the wait, then the engine.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from genrm.best_of_n import EngineCall
from genrm.types import Timings

Fact = str | int | float | bool


@dataclass(kw_only=True)
class Stage:
    """A stretch of time with a name. started, ended: by `time.perf_counter`; `ended` is None while it goes on.

    facts: short values for its span, never a caller's texts. parts: stages inside of it. has_failed: whether an
    exception ended it.
    """

    name: str
    started: float
    ended: float | None = None
    facts: dict[str, Fact] = field(default_factory=dict)
    parts: tuple["Stage", ...] = ()
    has_failed: bool = False

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until now."""
        return (time.perf_counter() if self.ended is None else self.ended) - self.started


def divide_judgement(started: float, timings: Timings, *, experts_first: bool, num_readings: int) -> tuple[Stage, ...]:
    """The parts of one judgement.

    experts_first: whether the engine was asked after the experts, and not beside them. Queue and engine are those of
    the slowest reading, as in `timings`.
    """
    experts = _divide(started, timings.experts, "experts")
    begun = experts[0].ended if experts and experts_first else None
    return (*experts, *_divide_call(started if begun is None else begun, timings.queue, timings.engine, num_readings))


def divide_ranking(started: float, timings: Timings, calls: Iterable[EngineCall]) -> tuple[Stage, ...]:
    """The parts of one ranking: experts, then a wait and the engine for each call; two calls may overlap."""
    parts = list(_divide(started, timings.experts, "experts"))
    for call in calls:
        begun = call.started + call.queue_seconds
        if call.queue_seconds:
            parts.append(Stage(name="queue", started=call.started, ended=begun))
        facts: dict[str, Fact] = {"judgements": call.num_judgements}
        parts.append(Stage(name="engine", started=begun, ended=max(begun, call.ended), facts=facts))
    return tuple(parts)


def _divide_call(started: float, queue_ms: float, engine_ms: float, num_readings: int) -> tuple[Stage, ...]:
    if not num_readings:  # identical texts: no model was asked
        return ()
    waited = started + queue_ms / 1000
    engine = Stage(name="engine", started=waited, ended=waited + engine_ms / 1000, facts={"readings": num_readings})
    return (Stage(name="queue", started=started, ended=waited), engine)


def _divide(started: float, milliseconds: float, name: str) -> tuple[Stage, ...]:
    """One stage, or none where it took no time at all."""
    return (Stage(name=name, started=started, ended=started + milliseconds / 1000),) if milliseconds else ()
