"""How many decoded pixels the requests of this replica hold at once, whether they wait or are judged.

A picture is small on the wire and large in memory: a few hundred kilobytes of PNG may be 40 megapixels. The limits of a
request say nothing of how many such requests wait.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import RefusalError

_RETRY_SECONDS = 1


class PixelBudget:
    """Counts the decoded pixels of all requests. max_pixels: most at once; a request that comes while none are held is
    always taken.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._lock = threading.Lock()  # pictures are decoded in threads
        self.num_held = 0

    @contextmanager
    def open(self) -> Iterator["PixelShare"]:
        """What one request may take, and gives back at its end."""
        share = PixelShare(self)
        try:
            yield share
        finally:
            with self._lock:
                share.is_closed = True
                self.num_held -= share.num_pixels

    def take(self, share: "PixelShare", num_pixels: int) -> None:
        """Add pixels to a request's share. Raises RefusalError if they are too many beside what others hold, or if the
        request has ended: the thread that reads its pictures may be the last to know.
        """
        with self._lock:
            if share.is_closed:
                raise RefusalError("deadline_exceeded", "The request ended before its images were decoded.")
            others = self.num_held - share.num_pixels
            if others and self.num_held + num_pixels > self._max_pixels:
                raise RefusalError(
                    "overloaded",
                    f"The requests that wait here have images of {others / 1e6:.1f} MP; with this one it would be more "
                    f"than {self._max_pixels / 1e6:g} MP (GENRM_MAX_WAITING_PIXELS). Send it again when Retry-After "
                    "says, to another replica, or with smaller images.",
                    retry_after_seconds=_RETRY_SECONDS,
                )
            self.num_held += num_pixels
            share.num_pixels += num_pixels


class PixelShare:
    """Pixels that one request holds. Safe in threads."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget = budget
        self.num_pixels, self.is_closed = 0, False

    def take(self, num_pixels: int) -> None:
        """Hold so many more, before they are decoded. Raises RefusalError if all requests together hold too many."""
        self._budget.take(self, num_pixels)
