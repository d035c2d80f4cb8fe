"""What one key may ask for, by a clock that the test turns."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest

from service.errors import RefusalError
from service.keys import ApiKey, KeyLimits
from service.quota import Quotas


@dataclass
class Clock:
    """Shows the time that it is set to, in seconds."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def make_key(name: str = "alice", *, per_minute: int | None = None, at_once: int | None = None) -> ApiKey:
    limits = KeyLimits(requests_per_minute=per_minute, max_concurrent=at_once)
    return ApiKey(name=name, digest="", limits=limits)


def spend(quotas: Quotas, key: ApiKey, num_requests: int = 1) -> None:
    for _ in range(num_requests):
        with quotas.spend(key):
            pass


def test_without_limits_nothing_is_refused() -> None:
    spend(Quotas(Clock()), make_key(), 1000)


def test_a_minute_s_requests_may_come_at_once_and_no_more() -> None:
    quotas, key = Quotas(Clock()), make_key(per_minute=3)
    spend(quotas, key, 3)
    with pytest.raises(RefusalError, match="3 requests of a minute") as refusal:
        spend(quotas, key)
    assert refusal.value.code == "rate_limited"


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600])
def test_who_waits_as_long_as_told_is_served(per_minute: int) -> None:
    clock = Clock()
    quotas, key = Quotas(clock), make_key(per_minute=per_minute)
    for _ in range(20):
        with contextlib.suppress(RefusalError):
            spend(quotas, key, per_minute + 1)
        with pytest.raises(RefusalError) as refusal:
            spend(quotas, key)
        seconds = refusal.value.retry_after_seconds
        assert seconds is not None
        assert 1 <= seconds <= 60
        clock.now += seconds
        spend(quotas, key)


def test_a_refused_request_does_not_count() -> None:
    clock = Clock()
    quotas, key = Quotas(clock), make_key(per_minute=60)
    spend(quotas, key, 60)
    for _ in range(100):
        with pytest.raises(RefusalError):
            spend(quotas, key)
    clock.now += 1
    spend(quotas, key)


def test_a_long_silence_saves_up_one_minute_and_no_more() -> None:
    clock = Clock()
    quotas, key = Quotas(clock), make_key(per_minute=2)
    spend(quotas, key, 2)
    clock.now += 86_400
    spend(quotas, key, 2)
    with pytest.raises(RefusalError):
        spend(quotas, key)


def test_keys_have_quotas_of_their_own() -> None:
    quotas = Quotas(Clock())
    spend(quotas, make_key("alice", per_minute=1))
    spend(quotas, make_key("bob", per_minute=1))


def test_a_limit_that_is_changed_holds_at_once() -> None:
    quotas = Quotas(Clock())
    spend(quotas, make_key(), 100)
    spend(quotas, make_key(per_minute=2), 2)
    with pytest.raises(RefusalError):
        spend(quotas, make_key(per_minute=2))
    spend(quotas, make_key(), 100)


def test_as_many_as_allowed_run_at_once() -> None:
    quotas, key = Quotas(Clock()), make_key(at_once=2)
    with quotas.spend(key):
        with quotas.spend(key), pytest.raises(RefusalError, match="2 at once are allowed") as refusal:
            spend(quotas, key)
        spend(quotas, key)
    assert (refusal.value.code, refusal.value.retry_after_seconds) == ("too_many_requests_at_once", 1)


def test_a_request_that_fails_gives_its_place_back() -> None:
    quotas, key = Quotas(Clock()), make_key(at_once=1)
    with pytest.raises(ZeroDivisionError), quotas.spend(key):
        raise ZeroDivisionError
    spend(quotas, key)


def test_one_too_many_at_once_takes_nothing_from_the_minute() -> None:
    quotas, key = Quotas(Clock()), make_key(per_minute=2, at_once=1)
    with quotas.spend(key), pytest.raises(RefusalError, match="at once"):
        spend(quotas, key)
    spend(quotas, key)
