"""The moment by which a request must be answered, from the settings or shorter from its own header.

Work that is not done by then is cancelled, so that it takes no time from requests that somebody still waits for.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.errors import RefusalError

HEADER = "X-Request-Timeout-Seconds"


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """started: `time.perf_counter()` at the request's arrival. timeout_seconds: how long after it; None is never."""

    started: float = 0.0
    timeout_seconds: float | None = None

    @contextlib.asynccontextmanager
    async def enforce(self) -> AsyncIterator[None]:
        """Cancel what the block awaits when the time is over. Raises RefusalError in its place."""
        if self.timeout_seconds is None:
            yield
            return
        left_seconds = self.started + self.timeout_seconds - time.perf_counter()
        limit = asyncio.timeout(left_seconds)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():  # somebody else's
                raise
            raise RefusalError(
                "deadline_exceeded",
                f"There was no answer within {self.timeout_seconds:g} s, so the work was dropped. Allow more time with "
                f"the header {HEADER}; GENRM_REQUEST_TIMEOUT_SECONDS is its upper limit. Or ask for less.",
            ) from None


NO_DEADLINE = Deadline()
"""Of work that may take as long as it likes."""


def choose_timeout(asked_seconds: float | None, limit_seconds: float | None) -> float | None:
    """The shorter of what a request asks for and what the settings allow; None if neither says anything."""
    given = [seconds for seconds in (asked_seconds, limit_seconds) if seconds is not None]
    return min(given, default=None)
