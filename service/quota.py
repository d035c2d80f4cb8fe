"""How much each key may ask for: requests per minute, by a token bucket, and requests at once.

Not about HTTP and not about keys: it counts by name. What a service can carry altogether is `service.admission`.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.errors import RefusalError
from service.keys import ApiKey, KeyLimits

_ROUNDING = 1e-6


@dataclass(kw_only=True)
class _Account:
    """What one key has used. tokens: requests that it may still send at once, as of `filled_at` (seconds)."""

    tokens: float
    filled_at: float
    num_running: int = 0


class Quotas:
    """Counts every key's requests. clock: seconds, never going back.

    A key that sent nothing for a minute may send a minute's requests at once. Counts outlive a change of the key's
    limits and end with the process; replicas do not know of one another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    @contextlib.contextmanager
    def spend(self, key: ApiKey) -> Iterator[None]:
        """Let one request of a key run. Raises RefusalError, with when to ask again, if a limit of it is reached."""
        limits = key.limits
        account = self._accounts.get(key.name)
        if account is None:
            account = _Account(tokens=math.inf, filled_at=self._clock())
            self._accounts[key.name] = account
        _check_concurrency(account, limits)
        self._take_token(account, limits)
        account.num_running += 1
        try:
            yield
        finally:
            account.num_running -= 1

    def _take_token(self, account: _Account, limits: KeyLimits) -> None:
        now = self._clock()
        seconds, account.filled_at = now - account.filled_at, now
        if limits.requests_per_minute is None:
            account.tokens = math.inf
            return
        per_second = limits.requests_per_minute / 60
        account.tokens = min(limits.requests_per_minute, account.tokens + seconds * per_second)
        if account.tokens < 1 - _ROUNDING:
            raise RefusalError(
                "rate_limited",
                f"This key has sent its {limits.requests_per_minute:,} requests of a minute. Wait as long as "
                "Retry-After says, or ask the operator for more (requests_per_minute of the key, "
                "GENRM_REQUESTS_PER_MINUTE).",
                retry_after_seconds=max(1, math.ceil((1 - account.tokens) / per_second)),
            )
        account.tokens -= 1


def _check_concurrency(account: _Account, limits: KeyLimits) -> None:
    if limits.max_concurrent is not None and account.num_running >= limits.max_concurrent:
        raise RefusalError(
            "too_many_requests_at_once",
            f"This key has {account.num_running:,} requests running; {limits.max_concurrent:,} at once are allowed. "
            "Wait for an answer before the next request, or ask the operator for more (max_concurrent of the key, "
            "GENRM_MAX_CONCURRENT_PER_KEY).",
            retry_after_seconds=1,
        )
