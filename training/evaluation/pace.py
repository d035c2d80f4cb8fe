"""How many requests a caller keeps running against a service that says when it is full.

Additive increase, multiplicative decrease, as TCP does it: every answer lets a little more run, a full service halves
it, once per round of requests. So one job takes what a service has to give, and several share it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

_START = 4.0
_LEAST = 1.0


class Pace:
    """A number of slots that adapts. most: never more than so many at once. For one event loop."""

    def __init__(self, most: int = 256) -> None:
        self.num_running = 0
        self._most = float(most)
        self._slots = min(_START, self._most)
        self._num_since_cut = 0
        self._freed = asyncio.Condition()

    @property
    def slots(self) -> int:
        """How many may run now."""
        return int(self._slots)

    @contextlib.asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold a slot for the block."""
        async with self._freed:
            await self._freed.wait_for(lambda: self.num_running < self.slots)
            self.num_running += 1
        try:
            yield
        finally:
            self.num_running -= 1
            async with self._freed:
                self._freed.notify_all()

    def speed_up(self) -> None:
        """Note an answer."""
        self._num_since_cut += 1
        self._slots = min(self._most, self._slots + 1 / self._slots)

    def slow_down(self) -> None:
        """Note that the service is full. What was sent before the last cut says nothing new."""
        if self._num_since_cut >= 0:
            self._slots = max(_LEAST, self._slots / 2)
            self._num_since_cut = -self.num_running
        else:
            self._num_since_cut += 1
