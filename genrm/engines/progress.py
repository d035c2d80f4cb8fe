"""What an observer may know of the in-process engine: how much it has done, what it is doing, and when it last moved.

Plain numbers, kept by the worker's thread and readable from any other; turning them into metrics or a liveness probe is
the service's business.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchEvent:
    """One piece of work on the device, just finished.

    stage: `prefill` (images and prompts of newcomers) or `decode` (one token for every running row).
    """

    stage: Literal["prefill", "decode"]
    num_rows: int
    num_tokens: int
    """Tokens computed, image tokens included; tokens taken from a cache are not."""
    seconds: float
    num_prefix_hits: int = 0
    """Of the groups that started, those whose images and shared text were computed already."""
    num_prefix_misses: int = 0


OnBatch = Callable[[BatchEvent], None]
"""Called by the worker's thread after every piece of work, so it must return at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStats:
    """What there is at this moment, and what has been done since the engine started."""

    num_running_rows: int = 0
    """Now; prompts being computed included."""
    num_waiting_rows: int = 0
    """Now."""
    num_completed_rows: int = 0
    num_failed_batches: int = 0
    num_prompt_tokens: int = 0
    """Tokens in prompts, whether computed or not."""
    num_cached_tokens: int = 0
    """Of these, not computed again."""
    num_completion_tokens: int = 0


class Progress:
    """The record that the worker keeps. Every change replaces a frozen value, so readers need no lock."""

    def __init__(self, on_batch: OnBatch | None = None) -> None:
        self.restart(on_batch)

    def restart(self, on_batch: OnBatch | None) -> None:
        """Begin to count, from zero. on_batch: told of every piece of work from now on."""
        self.stats = EngineStats()
        self._on_batch = on_batch
        self._moved = time.perf_counter()

    @property
    def seconds_since(self) -> float:
        """Time since something was last finished, or begun after a rest."""
        return time.perf_counter() - self._moved

    def mark(self) -> None:
        """Something moved."""
        self._moved = time.perf_counter()

    def count(
        self,
        *,
        completed_rows: int = 0,
        failed_batches: int = 0,
        prompt_tokens: int = 0,
        cached_tokens: int = 0,
        completion_tokens: int = 0,
    ) -> None:
        """Add to the counters."""
        old = self.stats
        self.stats = replace(
            old,
            num_completed_rows=old.num_completed_rows + completed_rows,
            num_failed_batches=old.num_failed_batches + failed_batches,
            num_prompt_tokens=old.num_prompt_tokens + prompt_tokens,
            num_cached_tokens=old.num_cached_tokens + cached_tokens,
            num_completion_tokens=old.num_completion_tokens + completion_tokens,
        )

    def report(self, event: BatchEvent) -> None:
        """A piece of work is done. An observer that fails is logged and otherwise ignored."""
        self.mark()
        if self._on_batch:
            try:
                self._on_batch(event)
            except Exception:  # noqa: BLE001 - whatever it is, it must not stop the engine
                _log.exception("The observer of engine batches failed")
