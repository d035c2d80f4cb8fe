"""How many judgements a replica takes on before it says no: by their number, and by how long a new one would wait.

Not about HTTP, and not about whose request it is (`service.quota`). Refusing early is kinder than queueing: a caller
who is told at once can go to another replica, and nothing has been read or decoded for it.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.errors import RefusalError

_HALF_LIFE_SECONDS = 30.0
"""Of what was measured: after so much busy time it counts half."""
_MAX_RETRY_SECONDS = 600


@dataclass(kw_only=True)
class Place:
    """One admission. is_completed: whether its judgements count as done at its end; what was dropped says nothing of
    speed, and what was told to `Admission.complete` is counted already.
    """

    is_completed: bool = True


class Throughput:
    """Seconds per completed judgement, over the time in which there was any work.

    It is 1 / throughput and not latency: of a replica that finishes ten in a second side by side, a tenth of a second.
    Time in which nothing is completed counts as well, so a replica that hangs is soon believed to be slow. Work that
    came one at a time makes it look slower than it would be under load, never faster.
    """

    def __init__(self) -> None:
        self._busy_seconds = 0.0
        self._num_completed = 0.0

    def pass_time(self, seconds: float) -> None:
        """Note time in which there was work."""
        kept = 0.5 ** (seconds / _HALF_LIFE_SECONDS)
        self._busy_seconds = self._busy_seconds * kept + seconds
        self._num_completed *= kept

    def complete(self, num_judgements: int) -> None:
        """Note judgements that are done."""
        self._num_completed += num_judgements

    @property
    def seconds_per_judgement(self) -> float:
        """The mean; 0 until something is known."""
        return self._busy_seconds / self._num_completed if self._num_completed else 0.0


class Admission:
    """Counts the judgements that wait or run, and refuses more when there are too many or they would wait too long.

    max_queue: most judgements at once. max_wait_seconds: longest expected wait of a new one. num_side_by_side: how many
    the engine is known to run without any of them waiting. clock: seconds, never going back. For one event loop: its
    methods are not safe in threads.
    """

    def __init__(
        self,
        *,
        max_queue: int,
        max_wait_seconds: float,
        num_side_by_side: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_admitted = 0
        self._max_queue = max_queue
        self._max_wait_seconds = max_wait_seconds
        self._num_side_by_side = num_side_by_side
        self._clock = clock
        self._throughput = Throughput()
        self._counted_until = clock()
        self._busy_until = -math.inf

    @property
    def quiet_seconds(self) -> float:
        """How long nothing has been waiting or running."""
        return 0.0 if self.num_admitted else self._clock() - self._busy_until

    @property
    def expected_wait_seconds(self) -> float:
        """How long a judgement that comes now would wait, by what was measured; 0 while nothing is known."""
        return self._expect_wait(self.num_admitted)

    @contextlib.contextmanager
    def admit(self, num_judgements: int = 1) -> Iterator[Place]:
        """Take judgements on for as long as the block runs.

        num_judgements: how many a request stands for. An exception that leaves the block means that they were not
        completed. Raises RefusalError, with when to ask again, if they are too many.
        """
        with self._take(num_judgements) as place:
            yield place

    @contextlib.contextmanager
    def admit_more(self, place: Place, num_judgements: int) -> Iterator[None]:
        """Take on what a request that has one place judges beside that, for as long as the block runs; of more than
        there are places for, as many as those, so that a replica without other work takes every request.

        place: the request's; at its end it counts for nothing, because what is judged is told to `complete` as it ends:
        a ranking may judge many times what it has places for. Raises RefusalError as `admit` does.
        """
        place.is_completed = False
        with self._take(min(num_judgements, self._max_queue - 1), num_own=1) as more:
            more.is_completed = False
            yield

    def complete(self, num_judgements: int) -> None:
        """Note judgements that are done while their request goes on."""
        self._count_time()
        self._throughput.complete(num_judgements)

    @contextlib.contextmanager
    def _take(self, num_judgements: int, *, num_own: int = 0) -> Iterator[Place]:
        """num_own: places that the request has already and does not wait for."""
        self._check(num_judgements, num_own)
        self.num_admitted += num_judgements
        place = Place()
        try:
            yield place
        except BaseException:
            place.is_completed = False
            raise
        finally:
            self._count_time()
            self.num_admitted -= num_judgements
            self._busy_until = self._clock()
            if place.is_completed:
                self._throughput.complete(num_judgements)

    def _check(self, num_judgements: int, num_own: int) -> None:
        wait_seconds = self._expect_wait(self.num_admitted - num_own)
        if self.num_admitted + num_judgements > self._max_queue:
            raise _refuse(
                f"This replica has {self.num_admitted:,} judgements waiting or running and takes {self._max_queue:,} "
                "at most (GENRM_MAX_QUEUE).",
                wait_seconds,
            )
        if wait_seconds > self._max_wait_seconds:
            raise _refuse(
                f"A judgement would wait about {wait_seconds:.0f} s here; the limit is {self._max_wait_seconds:g} s "
                "(GENRM_MAX_QUEUE_SECONDS).",
                wait_seconds,
            )

    def _expect_wait(self, num_before: int) -> float:
        """Seconds behind so many judgements that wait or run."""
        self._count_time()
        return max(0, num_before - self._num_side_by_side) * self._throughput.seconds_per_judgement

    def _count_time(self) -> None:
        """Let the time since the last call count, if there was work in it."""
        now = self._clock()
        if self.num_admitted:
            self._throughput.pass_time(now - self._counted_until)
        self._counted_until = now


def _refuse(why: str, wait_seconds: float) -> RefusalError:
    return RefusalError(
        "overloaded",
        f"{why} Send the request to another replica, or again when Retry-After says.",
        retry_after_seconds=max(1, math.ceil(min(_MAX_RETRY_SECONDS, wait_seconds))),
    )
