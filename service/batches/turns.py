"""When a line of a batch may start: batches take what requests leave.

While nobody asks, as many lines run at once as there are workers; within a second of a request, one. So a request that
comes meanwhile shares the machine with lines that have begun, and none that follow, and a batch still gets on under a
load that never ends.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.admission import Admission

_QUIET_SECONDS = 1.0
_LOOK_SECONDS = 0.02


class Turns:
    """Counts the lines that run. For one event loop.

    admission: knows when requests run. num_workers: most lines at once.
    """

    def __init__(self, admission: Admission, num_workers: int) -> None:
        self.num_running = 0
        self.is_closed = False
        self._admission = admission
        self._num_workers = num_workers
        self._next = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[bool]:
        """Wait for a turn and hold it for the block. False if there will be none, because the service stops."""
        async with self._next:  # one looks, and the others wait behind it
            while not self.is_closed and self.num_running >= self._num_at_once:  # noqa: ASYNC110 - time can free a turn
                await asyncio.sleep(_LOOK_SECONDS)
            is_turn = not self.is_closed
            self.num_running += is_turn
        try:
            yield is_turn
        finally:
            self.num_running -= is_turn

    @property
    def _num_at_once(self) -> int:
        return self._num_workers if self._admission.quiet_seconds >= _QUIET_SECONDS else 1
