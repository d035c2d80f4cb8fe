"""Works batches off as durable workflows: one reads the file, hands out pieces and ends the batch; one per piece judges
its lines, one after the other.

DBOS Transact gives each piece to one free worker of one replica, and gives what a dead replica held to another. What it
starts again it starts from the top, so each workflow first looks at what the tables say is done (`store`); a
line's result is committed with that line. So after a crash at most the lines that were running are judged again, one
per worker.
"""

import asyncio
import contextvars
import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import suppress
from typing import cast

from dbos import DBOS, DBOSConfig, SetWorkflowID

from service.batches import store
from service.batches.files import read_chunk
from service.batches.lines import (
    FoundLine,
    ParsedLine,
    build_failure,
    build_success,
    build_unanswered,
    find_lines,
    parse_line,
    plan_file,
)
from service.batches.runner import LineRunner
from service.batches.schemas import Endpoint
from service.batches.store import Batch, BatchProblem, Result
from service.batches.turns import Turns
from service.database import Database
from service.errors import StartError, StorageError, describe_failure
from service.metrics import Metrics
from service.settings import Settings

_BATCH_QUEUE = "genrm_batches"
_PIECE_QUEUE = "genrm_pieces"
_MAX_BATCHES_AT_ONCE = 16
"""Of one replica. A batch whose pieces are worked off costs it a thread that waits."""
_LOOK_SECONDS = 0.2
_MAX_IDLE_STARTS = 10
_PAUSE_SECONDS = 2.0
"""Before work that failed is tried again."""
_MAX_BUGS = 5
_WORKFLOW_VERSION = "1"
"""To be raised when a workflow would not understand what an older one has left behind."""

_logger = logging.getLogger(__name__)


class _LeftError(BaseException):
    """A workflow is left as it is, to be taken up again by another process. DBOS would keep an Exception as its end."""


class BatchWorkflows:
    """The workflows of one process; DBOS allows one instance of it.

    database: where everything is. runner, turns: how and when a line is judged, on `loop`. replica_id: this process.
    """

    def __init__(
        self,
        database: Database,
        runner: LineRunner,
        turns: Turns,
        metrics: Metrics,
        *,
        replica_id: str,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._database = database
        self._runner = runner
        self._turns = turns
        self._metrics = metrics
        self._replica_id = replica_id
        self._settings = settings
        self._loop = loop
        self._stopping = threading.Event()
        self._library: DBOS | None = None

    def launch(self) -> None:
        """Begin to work on what there is. Blocks. Raises StartError."""
        config: DBOSConfig = {
            "name": "vl-genrm",
            "system_database_url": self._database.url.render_as_string(hide_password=False),
            "sys_db_pool_size": 5,
            "executor_id": self._replica_id,
            "application_version": _WORKFLOW_VERSION,
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        library_log = logging.getLogger("dbos")
        library_log.handlers = [logging.NullHandler()]  # keeps it from printing beside our log
        library_log.propagate = True
        try:
            self._library = DBOS(config=config)
            self._piece = DBOS.workflow(name="piece", max_recovery_attempts=None)(
                lambda batch_id, position: self._insist(batch_id, lambda: self._work_on_piece(batch_id, position))
            )
            self._batch = DBOS.workflow(name="batch", max_recovery_attempts=None)(
                lambda batch_id: self._insist(batch_id, lambda: self._work_on_batch(batch_id))
            )
            DBOS.launch()
            for name, most in ((_BATCH_QUEUE, _MAX_BATCHES_AT_ONCE), (_PIECE_QUEUE, self._settings.batch_workers)):
                DBOS.register_queue(
                    name, worker_concurrency=most, polling_interval_sec=_LOOK_SECONDS, on_conflict="always_update"
                )
        except Exception as error:
            _logger.exception("The workflow engine could not be started.")
            raise StartError(
                "The workflow engine of batches could not be started on the database; the log has the reason. Correct "
                "GENRM_DATABASE_URL, or set it to none: then there are no batches."
            ) from error

    def find_workers(self) -> set[str]:
        """The replicas that anything is being worked on by, living or not. Blocks."""
        held = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        return {each.executor_id for each in held if each.executor_id is not None}

    def submit(self, batch_id: str) -> None:
        """Have a batch worked off; nothing happens to one that was submitted before. Blocks."""
        with SetWorkflowID(batch_id):
            DBOS.enqueue_workflow(_BATCH_QUEUE, self._batch, batch_id)

    def take_over(self, replica_id: str) -> None:
        """Put back into the queue what a dead replica was working on. Blocks."""
        for held in DBOS.list_workflows(status="PENDING", executor_id=replica_id, load_input=False, load_output=False):
            DBOS.resume_workflow(held.workflow_id, queue_name=held.queue_name)

    def forget(self, batch_ids: list[str]) -> None:
        """Delete the traces of batches that are gone. Blocks."""
        for batch_id in batch_ids:
            ids = [each.workflow_id for each in DBOS.list_workflows(workflow_id_prefix=batch_id, load_input=False)]
            DBOS.delete_workflows(ids)

    def stop_taking(self) -> None:
        """Take no further piece and start no further line; those that run are finished. Does not block."""
        self._stopping.set()
        self._turns.is_closed = True
        if self._library is not None:  # pieces are for the replicas that stay
            for event in self._library.background_thread_stop_events:
                event.set()

    def close(self) -> None:
        """Leave what is not finished to the next process. Blocks."""
        self.stop_taking()
        DBOS.destroy(destroy_registry=True)

    def _insist(self, batch_id: str, work: Callable[[], None]) -> None:
        """Do the work of a workflow, however often the database fails meanwhile: DBOS would take an error for its end.

        What fails for another reason is a bug; after a few tries it fails the batch, so that nobody waits for it.
        """
        num_bugs = 0
        while True:
            try:
                if num_bugs < _MAX_BUGS:
                    work()
                else:
                    self._fail(batch_id)
            except StorageError:
                _logger.exception("Batch %s waits for the database.", batch_id)
            except Exception:
                num_bugs += 1
                _logger.exception("Work on batch %s failed and is tried again.", batch_id)
            else:
                return
            if self._stopping.wait(_PAUSE_SECONDS):
                raise _LeftError

    def _fail(self, batch_id: str) -> None:
        problem = BatchProblem(
            code="internal_error", message="The service failed on this batch; its log has the reason."
        )
        with self._database.transaction() as connection:
            if store.move_batch(connection, batch_id, "failed", errors=[problem]):
                self._metrics.batches.labels("failed").inc()

    def _work_on_batch(self, batch_id: str) -> None:
        with self._database.transaction() as connection:
            batch = store.find_batch(connection, batch_id, None)
        if batch is not None and batch.status == "validating":
            self._validate(batch)
        if batch is not None and batch.status not in store.ENDED:
            self._hand_out(batch_id)
            self._end(batch_id)

    def _validate(self, batch: Batch) -> None:
        plan = plan_file(lambda position: self._read_chunk(batch, position), settings=self._settings)
        with self._database.transaction() as connection:
            if plan.problems:
                if store.move_batch(connection, batch.id, "failed", errors=plan.problems):
                    self._metrics.batches.labels("failed").inc()
            elif store.move_batch(connection, batch.id, "in_progress"):
                store.set_plan(connection, batch.id, plan.num_lines, plan.pieces)

    def _hand_out(self, batch_id: str) -> None:
        """Put pieces into the queue, a few ahead of the workers, so that batches get on side by side."""
        num_handed_out = 0
        while True:
            with self._database.transaction() as connection:
                batch = store.find_batch(connection, batch_id, None)
                num_pieces, num_done = store.count_pieces(connection, batch_id)
            if batch is None or batch.status in store.ENDED:
                return
            if batch.status == "cancelling":
                num_pieces = num_handed_out
            while num_handed_out < min(num_pieces, num_done + 2 * self._settings.batch_workers):
                # Outside of this workflow's context: DBOS would number it as a step of it, and after a failure or a
                # restart the numbers are others.
                contextvars.Context().run(self._hand_out_piece, batch_id, num_handed_out)
                num_handed_out += 1
            if num_done >= num_pieces:
                return
            if self._stopping.wait(_LOOK_SECONDS):
                raise _LeftError

    def _hand_out_piece(self, batch_id: str, position: int) -> None:
        with SetWorkflowID(f"{batch_id}-{position}"):
            DBOS.enqueue_workflow(_PIECE_QUEUE, self._piece, batch_id, position)

    def _end(self, batch_id: str) -> None:
        """Put a batch into its last state, whatever it is cancelled to meanwhile."""
        while True:
            with self._database.transaction() as connection:
                batch = store.find_batch(connection, batch_id, None)
                if batch is None or batch.status in store.ENDED:
                    return
                if batch.status == "cancelling":
                    ends: tuple[store.Status, ...] = ("cancelled",)
                else:
                    ends = ("finalizing", "expired" if batch.has_expired else "completed")
                is_ended = all(store.move_batch(connection, batch_id, status) for status in ends)
            if is_ended:
                self._metrics.batches.labels(ends[-1]).inc()

    def _work_on_piece(self, batch_id: str, position: int) -> None:
        if self._stopping.is_set():
            raise _LeftError
        try:
            self._judge_piece(batch_id, position)
        except (_LeftError, StorageError):  # none of which says anything against a line
            with suppress(StorageError), self._database.transaction() as connection:
                store.leave_piece(connection, batch_id, position)
            raise

    def _judge_piece(self, batch_id: str, position: int) -> None:
        with self._database.transaction() as connection:
            batch = store.find_batch(connection, batch_id, None)
            if batch is None:
                return
            piece, num_idle_starts = store.start_piece(connection, batch_id, position)
            done = store.list_done_lines(connection, batch_id, piece)
        lines = find_lines(
            lambda at: self._read_chunk(batch, at),
            max_line_bytes=self._settings.max_body_bytes,
            first_line=piece.first_line,
            start_byte=piece.start_byte,
            end_byte=piece.end_byte,
        )
        for line in lines:
            if line.number in done:
                continue
            if self._stopping.is_set():
                raise _LeftError
            with self._database.transaction() as connection:
                current = store.find_batch(connection, batch_id, None)
            if current is None or current.status != "in_progress":
                break
            result = self._work_on_line(current, line, is_deadly=num_idle_starts >= _MAX_IDLE_STARTS)
            num_idle_starts = 0
            with self._database.transaction() as connection:
                if store.add_result(connection, batch_id, result):
                    self._metrics.batch_lines.labels("failed" if result.is_error else "completed").inc()
        with self._database.transaction() as connection:
            store.end_piece(connection, batch_id, position)

    def _work_on_line(self, batch: Batch, line: FoundLine, *, is_deadly: bool) -> Result:
        """What comes of a line. Raises _LeftError if the service stops before it is known."""
        endpoint = cast("Endpoint", batch.endpoint)
        parsed = parse_line(line, endpoint=endpoint, settings=self._settings)
        if parsed.refusal is not None:
            refusal = parsed.refusal
            return build_unanswered(line.number, parsed.custom_id, refusal.code, str(refusal), refusal.param)
        if time.time() >= batch.expires_at:
            with self._database.transaction() as connection:
                store.note_expiry(connection, batch.id)
            message = (
                f"The batch's completion window ({batch.completion_window}) was over before this line's turn. Send it "
                "again in a new batch, or allow more time."
            )
            return build_unanswered(line.number, parsed.custom_id, "batch_expired", message)
        if is_deadly:
            message = (
                f"The service ended {_MAX_IDLE_STARTS} times while this line was judged, so it was given up. Judge it "
                "alone, and look at the service's log."
            )
            return build_unanswered(line.number, parsed.custom_id, "line_abandoned", message)
        judging = asyncio.run_coroutine_threadsafe(self._judge(endpoint, line.number, parsed), self._loop)
        with suppress(FutureCancelledError):
            if (result := judging.result()) is not None:
                return result
        raise _LeftError

    async def _judge(self, endpoint: Endpoint, number: int, parsed: ParsedLine) -> Result | None:
        """The result of a line when its turn has come; None if the service stops instead."""
        async with self._turns.take() as is_turn:
            if not is_turn:
                return None
            request_id = uuid.uuid4().hex
            try:
                body = await self._runner.answer(endpoint, parsed.body, request_id)
            except Exception as error:
                failure = describe_failure(error)
                if failure.code in ("shutting_down", "not_ready"):  # no word on the line
                    return None
                if not failure.foreseen:
                    _logger.exception("Request %s, a line of a batch, failed.", request_id)
                return build_failure(number, parsed.custom_id, failure, request_id)
            return build_success(number, parsed.custom_id, request_id, body)

    def _read_chunk(self, batch: Batch, position: int) -> bytes | None:
        with self._database.transaction() as connection:
            return read_chunk(connection, batch.input_file_id, position)
