"""Runs one expert in a thread of its own, so that a slow or broken one harms nobody else.

Inquiries that wait are computed together, up to the expert's batch size. Whoever waits longer than the time limit gets
an `ExpertError` instead; while an expert hangs, further inquiries are refused at once. The thread is a daemon: a hung
expert does not keep the process from ending.
"""

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from experts.boxes import clean_detections
from experts.contract import Expert, ExpertError, Inquiry
from genrm.types import Detection

_log = logging.getLogger(__name__)

OnBatch = Callable[[str, float, int], None]
"""Called as `on_batch(expert's name, seconds, number of inquiries)` after each batch that succeeded, from the
expert's thread.
"""


@dataclass(frozen=True, slots=True)
class _Job:
    inquiry: Inquiry
    future: "Future[tuple[Detection, ...]]" = field(default_factory=Future)


class ExpertWorker:
    """Answers inquiries with one expert. Safe to use from many tasks and loops.

    timeout_seconds: longest wait for one inquiry, queueing included, > 0.
    """

    def __init__(self, expert: Expert, *, timeout_seconds: float, on_batch: OnBatch | None = None) -> None:
        self.expert = expert
        self._timeout = timeout_seconds
        self._on_batch = on_batch
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"expert-{expert.name}", daemon=True)
        self._thread.start()

    async def detect(self, inquiry: Inquiry) -> tuple[Detection, ...]:
        """What the expert finds. Raises ExpertError if it fails, is too slow, or hangs with an earlier inquiry."""
        if not inquiry.phrases:
            return ()
        busy_since = self._busy_since
        if busy_since is not None and time.monotonic() - busy_since > self._timeout:
            raise ExpertError(f"Expert {self.expert.name!r} still works on an earlier image; it was not asked.")
        job = _Job(inquiry)
        self._jobs.put(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), self._timeout)
        except TimeoutError:
            raise ExpertError(
                f"Expert {self.expert.name!r} did not answer within {self._timeout:g} s (GENRM_EXPERT_TIMEOUT_SECONDS)."
            ) from None

    def close(self) -> None:
        """Let the thread end after what it has; what waits is answered first. Does not block."""
        self._jobs.put(None)

    def wait(self, timeout_seconds: float) -> None:
        """Wait for the end of the thread, so that the interpreter does not end under it."""
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            batch: list[_Job] = []
            while job is not None:
                if job.future.set_running_or_notify_cancel():
                    batch.append(job)
                if len(batch) >= self.expert.batch_size:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._answer(batch)
            if job is None:
                return

    def _answer(self, batch: list[_Job]) -> None:
        started = self._busy_since = time.monotonic()
        try:
            answers = self.expert.detect([job.inquiry for job in batch])
            checked = [_check(answer, job.inquiry) for job, answer in zip(batch, answers, strict=True)]
            if self._on_batch is not None:
                self._on_batch(self.expert.name, time.monotonic() - started, len(batch))
            for job, detections in zip(batch, checked, strict=True):
                job.future.set_result(detections)
        except Exception:  # noqa: BLE001 - whatever a model or a library of it raises must not end the thread
            if len(batch) == 1:
                _log.exception("Expert %s failed", self.expert.name)
                batch[0].future.set_exception(
                    ExpertError(f"Expert {self.expert.name!r} failed on this image. The log has the reason.")
                )
            else:  # one bad image must not cost the others their evidence
                for job in batch:
                    self._answer([job])
        finally:
            self._busy_since = None


def _check(answer: Iterable[Detection], inquiry: Inquiry) -> tuple[Detection, ...]:
    """What an expert found, with its boxes cut to the image. Raises ExpertError for a score or box that is no number:
    whoever drops it would say that nothing is there.
    """
    found = tuple(answer)
    if not all(0 <= detection.score <= 1 and all(map(math.isfinite, detection.box)) for detection in found):
        raise ExpertError("It gave a score outside [0, 1] or a box that is no number.")
    return tuple(clean_detections(found, width=inquiry.image.width, height=inquiry.image.height))
