"""Runs one expert or statement checker in a thread of its own, so that a slow or broken one harms nobody else.

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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from experts.boxes import clean_detections
from experts.contract import Expert, ExpertError, Inquiry, StatementChecker, StatementInquiry
from genrm.types import Detection

_log = logging.getLogger(__name__)

OnBatch = Callable[[str, float, int], None]
"""Called as `on_batch(expert's name, seconds, number of inquiries)` after each batch that succeeded, from the
expert's thread.
"""


Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Job(Generic[Asked, Answer]):
    inquiry: Asked
    future: "Future[Answer]" = field(default_factory=Future)


class Worker(Generic[Asked, Answer]):
    """Answers inquiries with one function. Safe to use from many tasks and loops.

    compute: answers a batch, in its order. name: of the expert. batch_size: most inquiries of a batch, ≥ 1.
    timeout_seconds: longest wait for one inquiry, queueing included, > 0.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Asked]], Sequence[Answer]],
        *,
        name: str,
        batch_size: int,
        timeout_seconds: float,
        on_batch: OnBatch | None = None,
    ) -> None:
        self.name = name
        self._compute, self._batch_size = compute, batch_size
        self._timeout = timeout_seconds
        self._on_batch = on_batch
        self._jobs: queue.SimpleQueue[_Job[Asked, Answer] | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"expert-{name}", daemon=True)
        self._thread.start()

    async def ask(self, inquiry: Asked) -> Answer:
        """The answer. Raises ExpertError if the expert fails, is too slow, or hangs with an earlier inquiry."""
        busy_since = self._busy_since
        if busy_since is not None and time.monotonic() - busy_since > self._timeout:
            raise ExpertError(f"Expert {self.name!r} still works on an earlier image; it was not asked.")
        job: _Job[Asked, Answer] = _Job(inquiry)
        self._jobs.put(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), self._timeout)
        except TimeoutError:
            raise ExpertError(
                f"Expert {self.name!r} did not answer within {self._timeout:g} s (GENRM_EXPERT_TIMEOUT_SECONDS)."
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
            batch: list[_Job[Asked, Answer]] = []
            while job is not None:
                if job.future.set_running_or_notify_cancel():
                    batch.append(job)
                if len(batch) >= self._batch_size:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._answer(batch)
            if job is None:
                return

    def _answer(self, batch: list[_Job[Asked, Answer]]) -> None:
        started = self._busy_since = time.monotonic()
        try:
            answers = self._compute([job.inquiry for job in batch])
            answered = list(zip(batch, answers, strict=True))
            if self._on_batch is not None:
                self._on_batch(self.name, time.monotonic() - started, len(batch))
            for job, answer in answered:
                job.future.set_result(answer)
        except Exception:  # noqa: BLE001 - whatever a model or a library of it raises must not end the thread
            if len(batch) == 1:
                _log.exception("Expert %s failed", self.name)
                batch[0].future.set_exception(
                    ExpertError(f"Expert {self.name!r} failed on this image. The log has the reason.")
                )
            else:  # one bad image must not cost the others their evidence
                for job in batch:
                    self._answer([job])
        finally:
            self._busy_since = None


class ExpertWorker(Worker[Inquiry, tuple[Detection, ...]]):
    """Looks for phrases with one expert."""

    def __init__(self, expert: Expert, *, timeout_seconds: float, on_batch: OnBatch | None = None) -> None:
        self.expert = expert
        super().__init__(
            self._detect,
            name=expert.name,
            batch_size=expert.batch_size,
            timeout_seconds=timeout_seconds,
            on_batch=on_batch,
        )

    async def detect(self, inquiry: Inquiry) -> tuple[Detection, ...]:
        """What the expert finds; it is not asked for nothing. Raises ExpertError as `ask` does."""
        return await self.ask(inquiry) if inquiry.phrases else ()

    def _detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        answers = self.expert.detect(inquiries)
        return [_check(answer, inquiry) for inquiry, answer in zip(inquiries, answers, strict=True)]


class StatementWorker(Worker[StatementInquiry, tuple[float, ...]]):
    """Has statements checked by one checker."""

    def __init__(self, checker: StatementChecker, *, timeout_seconds: float, on_batch: OnBatch | None = None) -> None:
        self.checker = checker
        super().__init__(
            self._check,
            name=checker.name,
            batch_size=checker.batch_size,
            timeout_seconds=timeout_seconds,
            on_batch=on_batch,
        )

    async def check(self, inquiry: StatementInquiry) -> dict[str, float]:
        """Probability of each statement; the checker is not asked for none. Raises ExpertError as `ask` does."""
        probabilities = await self.ask(inquiry) if inquiry.statements else ()
        return dict(zip(inquiry.statements, probabilities, strict=True))

    def _check(self, inquiries: Sequence[StatementInquiry]) -> list[tuple[float, ...]]:
        answers = [tuple(answer) for answer in self.checker.check(inquiries)]
        for inquiry, answer in zip(inquiries, answers, strict=True):
            if len(answer) != len(inquiry.statements) or not all(0 <= probability <= 1 for probability in answer):
                raise ExpertError("It gave no probability in [0, 1] for each statement.")
        return answers


def _check(answer: Iterable[Detection], inquiry: Inquiry) -> tuple[Detection, ...]:
    """What an expert found, with its boxes cut to the image. Raises ExpertError for a score or box that is no number:
    whoever drops it would say that nothing is there.
    """
    found = tuple(answer)
    if not all(0 <= detection.score <= 1 and all(map(math.isfinite, detection.box)) for detection in found):
        raise ExpertError("It gave a score outside [0, 1] or a box that is no number.")
    return tuple(clean_detections(found, width=inquiry.image.width, height=inquiry.image.height))
