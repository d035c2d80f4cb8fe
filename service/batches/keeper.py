"""Everything about batches that lives as long as the service: the workflows, and the housekeeping around them.

Housekeeping shows the other replicas that this one lives, takes over from those that have died, submits batches that
were created and not submitted when their process died, and deletes what is past its time.
"""

import asyncio
import importlib
import logging
import time
import uuid
from typing import TYPE_CHECKING

from service.admission import Admission
from service.batches import store
from service.batches.files import delete_expired_files
from service.batches.runner import LineRunner
from service.batches.turns import Turns
from service.connection import cancel_all
from service.database import Database
from service.errors import RefusalError, StorageError
from service.idempotency import forget_answers_of, forget_old_answers
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.remote_image import ImageFetcher
from service.replicas import BEAT_SECONDS, Replicas
from service.settings import Settings

if TYPE_CHECKING:
    from service.batches.workflows import BatchWorkflows

_CLEANING_SECONDS = 600.0

_logger = logging.getLogger(__name__)


class BatchKeeper:
    """Starts when the judge is loaded, and stops before it is closed.

    database: open. The rest is the application's.
    """

    def __init__(
        self,
        database: Database,
        lifecycle: Lifecycle,
        admission: Admission,
        settings: Settings,
        metrics: Metrics,
        fetcher: ImageFetcher,
    ) -> None:
        self.database = database
        self.replica_id = uuid.uuid4().hex
        self._lifecycle = lifecycle
        self._settings = settings
        self._metrics = metrics
        self._runner = LineRunner(lifecycle, settings, metrics, fetcher)
        self._turns = Turns(admission, settings.batch_workers)
        self._replicas = Replicas(self.replica_id, is_exclusive=database.is_exclusive)
        self._workflows: BatchWorkflows | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._next_cleaning = 0.0

    async def start(self) -> None:
        """Begin to work on what there is. Raises StartError and StorageError."""
        # Its library takes seconds to import, and health checks are to be answered meanwhile.
        module = await asyncio.to_thread(importlib.import_module, "service.batches.workflows")
        workflows: BatchWorkflows = module.BatchWorkflows(
            self.database,
            self._runner,
            self._turns,
            self._metrics,
            replica_id=self.replica_id,
            settings=self._settings,
            loop=asyncio.get_running_loop(),
        )
        await self.database.run(self._replicas.beat)
        launching = asyncio.ensure_future(asyncio.to_thread(workflows.launch))
        try:
            await asyncio.shield(launching)
        except BaseException:
            await asyncio.wait({launching})
            await asyncio.to_thread(workflows.close)
            raise
        self._workflows = workflows
        self._tasks = [asyncio.create_task(each) for each in (self._beat(), self._keep_house(workflows))]

    def require_open(self) -> None:
        """Raise RefusalError if batches are not taken yet, or no more. To be asked before one is written down."""
        self._lifecycle.require_judge()
        if self._workflows is None:
            raise RefusalError("not_ready", "Batches are not taken yet. Ask again in a second.", retry_after_seconds=1)

    async def submit(self, batch_id: str) -> None:
        """Have a batch worked off that is written down, by this process or, where it stops, by the next one.

        It is not refused any more, since it will be judged whatever fails here: housekeeping submits what is left over.
        """
        assert self._workflows is not None, "see require_open"
        try:
            await asyncio.to_thread(self._workflows.submit, batch_id)
        except Exception:
            _logger.exception("Batch %s could not be submitted; housekeeping tries again.", batch_id)
            self._next_cleaning = 0.0

    def stop_taking(self) -> None:
        """Start no further line of a batch."""
        if self._workflows is not None:
            self._workflows.stop_taking()

    async def close(self) -> None:
        """Let lines that run be finished, leave the rest to other replicas or the next process, close the database."""
        self.stop_taking()
        await cancel_all(*self._tasks)
        began = self._lifecycle.stopping_since or time.monotonic()
        limit = began + self._settings.shutdown_delay_seconds + self._settings.shutdown_timeout_seconds
        while self._turns.num_running and time.monotonic() < limit:  # noqa: ASYNC110 - threads and time end it
            await asyncio.sleep(0.02)
        if self._workflows is not None:
            await asyncio.to_thread(self._workflows.close)
        try:
            await self.database.run(self._replicas.leave)
        except StorageError:
            _logger.warning("The other replicas could not be told that this one stops; they will notice.")
        await asyncio.to_thread(self.database.close)

    async def _beat(self) -> None:
        """Show that this replica lives, whatever housekeeping waits for."""
        while True:
            try:
                await self.database.run(self._replicas.beat)
            except StorageError:
                _logger.warning("The database did not take this replica's sign of life.")
            await asyncio.sleep(BEAT_SECONDS)

    async def _keep_house(self, workflows: "BatchWorkflows") -> None:
        while True:
            try:
                await asyncio.to_thread(self._look_after_replicas, workflows)
                if time.monotonic() >= self._next_cleaning:
                    self._next_cleaning = time.monotonic() + _CLEANING_SECONDS
                    await asyncio.to_thread(self._clean, workflows)
            except Exception:  # it must go on
                self._next_cleaning = 0.0
                _logger.exception("Housekeeping of batches failed and is tried again.")
            await asyncio.sleep(BEAT_SECONDS)

    def _look_after_replicas(self, workflows: "BatchWorkflows") -> None:
        with self.database.transaction() as connection:
            dead = self._replicas.claim_dead(connection)
        for replica_id in dead:
            workflows.take_over(replica_id)
            with self.database.transaction() as connection:
                forget_answers_of(connection, replica_id)
                self._replicas.forget(connection, replica_id)

    def _clean(self, workflows: "BatchWorkflows") -> None:
        now = int(time.time())

        with self.database.transaction() as connection:
            still_open = store.list_open_batches(connection)
            delete_expired_files(connection, now, keep=[batch.input_file_id for batch in still_open])
            forget_old_answers(connection, now)
            deleted = store.delete_old_batches(connection, now)
        workers = workflows.find_workers() - {self.replica_id}
        with self.database.transaction() as connection:
            unknown = self._replicas.find_unknown(connection, workers)
        for replica_id in unknown:
            workflows.take_over(replica_id)
        workflows.forget(deleted)
        for batch in still_open:
            workflows.submit(batch.id)  # of one that was submitted it changes nothing
