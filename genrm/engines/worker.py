"""The one thread that owns the model: takes calls in, starts their rows, decodes all running rows together.

Continuous batching: between two decoding steps, rows that are finished or whose call was cancelled leave the batch, and
waiting groups join as long as the *token budget* holds: rows × the longest row's prompt and answer. Groups go in the
order of their arrival; one that is too big for the budget runs alone. Joining stops decoding for as long as prompts
are computed, so decoding gets about the same time before the next join; meanwhile newcomers gather, and a join of
several is cheaper.

A failure while prompts are computed fails the calls being started, a failure in a decoding step those running, and the
thread goes on. Causes are logged; the calls get an EngineError without a library's words. A failure anywhere else ends
the thread, which `has_died` tells.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from genrm.engines.contract import Sampling
from genrm.engines.forward import Forward
from genrm.engines.kv_cache import RunningRows
from genrm.engines.prefill import Prefill
from genrm.engines.prefix_cache import PrefixCache
from genrm.engines.preparation import Group, Preparation
from genrm.engines.progress import BatchEvent, EngineStats, Progress
from genrm.engines.rows import Call, Row, Vocabulary
from genrm.engines.sampling import choose_tokens
from genrm.errors import EngineClosedError, EngineError, GenRMError, InvalidComparisonError, ModelLoadError

_LONGEST_PAUSE_SECONDS = 0.05
"""Decoding time that newcomers wait for between two joins, at most."""
_MAX_PREPARED_GROUPS = 64
"""Waiting groups whose pixels are kept ready; calls beyond that wait as they came."""

_log = logging.getLogger(__name__)


class Worker:
    """Runs calls on one model, in a thread of its own, from `start` until `stop`.

    vocabulary_for: what rows need to know of the tokenizer; raises ModelLoadError if the labels do not suit the model.
    max_batch_tokens: the token budget of the running rows. max_prefix_tokens: shared tokens of earlier calls that are
    kept.
    """

    def __init__(
        self,
        *,
        forward: Forward,
        preparation: Preparation,
        vocabulary_for: Callable[[Sampling], Vocabulary],
        max_batch_tokens: int,
        max_prefix_tokens: int = 0,
        progress: Progress,
    ) -> None:
        self._forward = forward
        self._preparation = preparation
        self._vocabulary_for = vocabulary_for
        self._max_batch_tokens = max_batch_tokens
        self._progress = progress
        self._prefill = Prefill(forward, prefixes=PrefixCache(max_tokens=max_prefix_tokens))
        self._cached = RunningRows(forward.cache_shape)
        self._running: list[Row] = []
        self._starting: list[Group] = []
        self._waiting: deque[Group] = deque()
        self._arrivals: deque[Call] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self.has_died = False
        """Whether the thread has ended by itself, and with it the worker."""
        self._last_join = 0.0
        self._pause_seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="genrm-engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse what has not been started, finish what has, and end the thread. Blocks until it has ended."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def submit(self, call: Call) -> None:
        """Queue a call, from any thread. Raises EngineClosedError after `stop`."""
        with self._wake:
            if self._closing:
                raise EngineClosedError("The engine is closed and takes no new work. Send the call to another replica.")
            if not self.is_busy:
                self._progress.mark()  # a rest is not a standstill
            self._arrivals.append(call)
            self._wake.notify()

    @property
    def is_busy(self) -> bool:
        """Whether any call waits or runs."""
        return bool(self._arrivals or self._waiting or self._starting or self._running)

    def stats(self) -> EngineStats:
        """What runs and waits now, and what has been done."""
        # Copies, because the worker may change these meanwhile.
        num_arrived = sum(len(call.prompts) for call in list(self._arrivals))
        num_prepared, num_starting = (
            sum(len(group.rows) for group in list(groups)) for groups in (self._waiting, self._starting)
        )
        return replace(
            self._progress.stats,
            num_running_rows=num_starting + len(self._running),
            num_waiting_rows=num_arrived + num_prepared,
        )

    @torch.inference_mode()
    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._take_in()
                self._leave()
                self._start_waiting()
                self._decode()
        except Exception:  # noqa: BLE001 - see the module's docstring
            _log.exception("The engine's thread has ended; calls concerned: %d", len(set(self._calls())))
            self.has_died = True
        finally:
            with self._wake:
                self._closing = True
            _fail(self._calls(), EngineClosedError, "The engine has stopped. Send the call to another replica.")

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do. False: the engine closes and nothing runs any more."""
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self.is_busy)
        if self._closing:
            not_started = [call for call in self._calls() if not call.is_started]
            _fail(not_started, EngineClosedError, "The engine closed before it came to this call. Send it elsewhere.")
            self._arrivals.clear()
            self._leave()
        return self.is_busy

    def _take_in(self) -> None:
        """Prepare the calls that arrived, as many as are worth having ready; while rows run, one between two steps."""
        while self._arrivals and len(self._waiting) < _MAX_PREPARED_GROUPS:
            call = self._arrivals[0]
            try:
                if not call.is_over:
                    self._waiting.extend(self._preparation.prepare(call, self._vocabulary_for(call.sampling)))
            except ModelLoadError as error:  # of another pair of labels than `start` has checked
                call.fail(InvalidComparisonError(str(error), param="labels"))
            except GenRMError as refusal:
                call.fail(refusal)
            except Exception as error:  # noqa: BLE001 - whatever a processor raises, it concerns this call alone
                self._fail_batch([call], error, doing="preparing the prompts of a call")
            with self._wake:
                self._arrivals.popleft()
            self._progress.mark()
            if self._running:
                break

    def _start_waiting(self) -> None:
        """Compute the prompts of the groups that may start now, and give their rows the first token."""
        self._admit()
        if not self._starting:
            return
        begun = time.perf_counter()
        hits, misses = self._prefill.num_prefix_hits, self._prefill.num_prefix_misses
        try:
            started = self._prefill.start(self._starting)
            rows = [start.row for start in started]
            finished = self._advance(rows, torch.stack([start.logits for start in started]))
            staying = [start for start in started if not _is_done(start.row)]
            if staying:
                self._cached.join([start.run for start in staying])
                self._running += [start.row for start in staying]
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self._fail_batch([group.call for group in self._starting], error, doing="computing prompts")
            self._starting.clear()
            return
        self._starting.clear()
        self._last_join = time.perf_counter()
        self._pause_seconds = min(self._last_join - begun, _LONGEST_PAUSE_SECONDS)
        num_tokens = sum(row.num_prompt_tokens - row.num_cached_tokens for row in rows)
        self._progress.report(
            BatchEvent(
                stage="prefill",
                num_rows=len(rows),
                num_tokens=num_tokens,
                seconds=self._last_join - begun,
                num_prefix_hits=self._prefill.num_prefix_hits - hits,
                num_prefix_misses=self._prefill.num_prefix_misses - misses,
            )
        )
        self._answer(finished)

    def _admit(self) -> None:
        """Move the groups that may start now from those that wait to those that start."""
        now = time.perf_counter()
        if self._running and now - self._last_join < self._pause_seconds:
            return
        num_rows = len(self._running)
        longest = max((row.num_reserved_tokens for row in self._running), default=0)
        while self._waiting:
            rows = self._waiting[0].rows
            num_rows += len(rows)
            longest = max(longest, *(row.num_reserved_tokens for row in rows))
            if num_rows > len(rows) and num_rows * longest > self._max_batch_tokens:
                break
            self._starting.append(self._waiting[0])
            self._waiting.popleft().call.is_started = True
            for row in rows:
                row.admitted = now

    def _decode(self) -> None:
        """Give every running row its next token."""
        if not self._running:
            return
        begun = time.perf_counter()
        num_rows = len(self._running)
        try:
            logits = self._forward.decode(
                [row.ids[-1] for row in self._running],
                [row.position for row in self._running],
                self._cached,
                [row.call.adapter for row in self._running],
            )
            finished = self._advance(self._running, logits)
            self._leave()
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            self._fail_batch([row.call for row in self._running], error, doing="decoding")
            self._running.clear()
            self._cached = RunningRows(self._forward.cache_shape)
            return
        self._progress.report(
            BatchEvent(stage="decode", num_rows=num_rows, num_tokens=num_rows, seconds=time.perf_counter() - begun)
        )
        self._answer(finished)

    def _advance(self, rows: Sequence[Row], logits_RV: Tensor) -> list[Row]:
        """Give every row its next token and, where that is a label, label probabilities. Returns the finished rows."""
        tokens = choose_tokens(
            logits_RV,
            temperatures=[row.call.sampling.temperature for row in rows],
            top_ps=[row.call.sampling.top_p for row in rows],
            generators=[row.generator for row in rows],
        )
        label_logprobs = _read_labels(rows, tokens, logits_RV)
        for index, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            try:
                if row.wants_label_only:
                    row.accept_label(label_logprobs[index])
                else:
                    row.accept(token, label_logprobs.get(index))
            except Exception as error:  # noqa: BLE001 - raised by the call's own on_text: it goes back to the caller
                row.call.fail(error)
        return [row for row in rows if row.finish_reason]

    def _answer(self, rows: Iterable[Row]) -> None:
        """Hand out what is finished; last of all, so that whoever gets an answer finds it counted."""
        for row in rows:
            completion = row.completion()
            self._progress.count(
                completed_rows=1,
                prompt_tokens=completion.prompt_tokens,
                cached_tokens=completion.cached_tokens,
                completion_tokens=completion.completion_tokens,
            )
            row.call.complete_row(row.index, completion)

    def _leave(self) -> None:
        """Let go of rows and groups whose row is finished or whose call is over."""
        if any(group.call.is_over for group in self._waiting):
            self._waiting = deque(group for group in self._waiting if not group.call.is_over)
        leaving = [index for index, row in enumerate(self._running) if _is_done(row)]
        if leaving:
            for mover, gap in self._cached.drop(leaving):
                self._running[gap] = self._running[mover]
            del self._running[len(self._cached) :]

    def _calls(self) -> list[Call]:
        """All calls that are not answered yet, as far as this thread knows."""
        return [
            *self._arrivals,
            *(group.call for group in (*self._waiting, *self._starting)),
            *(row.call for row in self._running),
        ]

    def _fail_batch(self, calls: Sequence[Call], error: Exception, *, doing: str) -> None:
        """Log what happened and fail the calls, in words that tell callers what to do."""
        _log.error("The engine failed while %s; calls concerned: %d", doing, len(set(calls)), exc_info=error)
        self._progress.count(failed_batches=1)
        remedy = "Try again; the cause is in the engine's log."
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            remedy = f"Memory ran out: lower max_batch_tokens (now {self._max_batch_tokens:,}), or try again later."
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        _fail(calls, EngineError, f"The engine failed while {doing}. {remedy}")


def _fail(calls: Iterable[Call], kind: type[EngineError], message: str) -> None:
    """Fail every call with an error of its own: an exception object that several tasks raise mixes their tracebacks."""
    for call in calls:
        call.fail(kind(message))


def _is_done(row: Row) -> bool:
    return row.finish_reason is not None or row.call.is_over


def _read_labels(rows: Sequence[Row], tokens: Sequence[int], logits_RV: Tensor) -> dict[int, tuple[float, ...]]:
    """Label log-probabilities, at temperature 1 over the whole vocabulary, of rows whose next token is a label."""
    label_ids = {
        index: ids
        for index, (row, token) in enumerate(zip(rows, tokens, strict=True))
        if (ids := row.label_ids_at(token))
    }
    if not label_ids:
        return {}
    logprobs = torch.log_softmax(logits_RV[torch.tensor(list(label_ids), device=logits_RV.device)], dim=-1).cpu()
    return {index: tuple(logprobs[place, list(ids)].tolist()) for place, (index, ids) in enumerate(label_ids.items())}
