"""How many judgements are taken on, by a clock that the test turns; nothing of HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from service.admission import Admission
from service.errors import RefusalError


@dataclass
class Clock:
    """Shows the time that it is set to, in seconds."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@contextlib.contextmanager
def hold(admission: Admission, num_judgements: int) -> Iterator[None]:
    """Some judgements that run, each admitted by itself."""
    with contextlib.ExitStack() as stack:
        for _ in range(num_judgements):
            stack.enter_context(admission.admit())
        yield


def run_for(admission: Admission, clock: Clock, seconds: float, num_judgements: int = 1) -> None:
    """Let judgements run side by side, all of which end after some time."""
    with hold(admission, num_judgements):
        clock.now += seconds


def test_as_many_as_the_limit_are_taken_and_not_one_more(clock: Clock) -> None:
    admission = Admission(max_queue=2, max_wait_seconds=30, clock=clock)
    with hold(admission, 2), pytest.raises(RefusalError, match="takes 2 at most") as refusal, admission.admit():
        pass
    assert refusal.value.code == "overloaded"
    assert admission.num_admitted == 0
    run_for(admission, clock, 0)


def test_before_anything_was_measured_only_the_number_counts(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=0.1, clock=clock)
    with hold(admission, 100):
        assert admission.expected_wait_seconds == 0


def test_the_expected_wait_is_the_queue_times_the_seconds_per_judgement(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=30, clock=clock)
    run_for(admission, clock, 2)
    assert admission.expected_wait_seconds == 0
    with hold(admission, 5):
        assert admission.expected_wait_seconds == pytest.approx(10)


def test_throughput_counts_and_not_latency(clock: Clock) -> None:
    """Ten side by side in two seconds are a fifth of a second each."""
    admission = Admission(max_queue=100, max_wait_seconds=30, clock=clock)
    run_for(admission, clock, 2, num_judgements=10)
    with hold(admission, 5):
        assert admission.expected_wait_seconds == pytest.approx(1)


def test_time_without_work_does_not_count(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=30, clock=clock)
    run_for(admission, clock, 1)
    clock.now += 10_000
    run_for(admission, clock, 1)
    with hold(admission, 1):
        assert admission.expected_wait_seconds == pytest.approx(1, rel=0.05)


def test_a_wait_over_the_limit_is_refused_with_when_to_ask_again(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=10, clock=clock)
    run_for(admission, clock, 2.5)
    with (
        hold(admission, 5),
        pytest.raises(RefusalError, match=r"about 12 s here; the limit is 10 s \(GENRM_MAX_QUEUE_SECONDS\)") as refusal,
        admission.admit(),
    ):
        pass
    assert (refusal.value.code, refusal.value.retry_after_seconds) == ("overloaded", 13)


def test_when_to_ask_again_is_a_second_at_the_least_and_ten_minutes_at_the_most(clock: Clock) -> None:
    admission = Admission(max_queue=1, max_wait_seconds=30, clock=clock)
    for seconds, told in ((0.001, 1), (100_000, 600)):
        run_for(admission, clock, seconds)
        with admission.admit(), pytest.raises(RefusalError) as refusal, admission.admit():
            pass
        assert refusal.value.retry_after_seconds == told


def test_what_the_engine_runs_side_by_side_waits_for_nothing(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=30, num_side_by_side=4, clock=clock)
    run_for(admission, clock, 2)
    with hold(admission, 4):
        assert admission.expected_wait_seconds == 0
        with hold(admission, 3):
            assert admission.expected_wait_seconds == pytest.approx(6)


def test_a_replica_that_hangs_is_soon_believed_to_be_slow(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=30, clock=clock)
    for _ in range(10):
        run_for(admission, clock, 0.1)
    with hold(admission, 3):
        assert admission.expected_wait_seconds < 1
        clock.now += 60
        assert admission.expected_wait_seconds > 30


def test_an_idle_replica_takes_the_next_one_however_slow_it_was(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=1, clock=clock)
    run_for(admission, clock, 500)
    run_for(admission, clock, 1)


def test_what_was_long_ago_is_forgotten(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=1000, clock=clock)
    run_for(admission, clock, 20)
    for _ in range(4000):
        run_for(admission, clock, 0.1)
    with hold(admission, 10):
        assert admission.expected_wait_seconds == pytest.approx(1, rel=0.05)


def test_what_fails_frees_its_place_and_says_nothing_of_speed(clock: Clock) -> None:
    admission = Admission(max_queue=1, max_wait_seconds=30, clock=clock)
    with pytest.raises(ZeroDivisionError), admission.admit():
        raise ZeroDivisionError
    with admission.admit() as place:
        place.is_completed = False
    with admission.admit():
        clock.now += 5
        assert admission.expected_wait_seconds == 0


def test_a_request_of_several_judgements_takes_as_many_places(clock: Clock) -> None:
    admission = Admission(max_queue=5, max_wait_seconds=30, clock=clock)
    with admission.admit(), admission.admit(3):
        assert admission.num_admitted == 4
        with pytest.raises(RefusalError), admission.admit(2):
            pass
        clock.now += 8
    with hold(admission, 1):
        assert admission.expected_wait_seconds == pytest.approx(2)


def test_what_a_ranking_completes_is_counted_as_it_ends_and_not_once_more_at_its_end(clock: Clock) -> None:
    admission = Admission(max_queue=100, max_wait_seconds=1000, clock=clock)
    with admission.admit() as place, admission.admit_more(place, 3):
        assert admission.num_admitted == 4
        for _ in range(4):
            clock.now += 2
            admission.complete(20)
        assert admission.expected_wait_seconds == pytest.approx(4 * 0.1)
    with hold(admission, 1):
        assert admission.expected_wait_seconds == pytest.approx(0.1)


def test_a_replica_without_other_work_takes_a_ranking_of_any_size_however_slow_it_was(clock: Clock) -> None:
    admission = Admission(max_queue=5, max_wait_seconds=30, clock=clock)
    run_for(admission, clock, 500)
    with admission.admit() as place, admission.admit_more(place, 63):
        assert admission.num_admitted == 5
    assert admission.num_admitted == 0


def test_a_replica_with_other_work_takes_a_ranking_only_if_it_has_the_places(clock: Clock) -> None:
    admission = Admission(max_queue=5, max_wait_seconds=30, clock=clock)
    with hold(admission, 1), admission.admit() as place, admission.admit_more(place, 3):
        assert admission.num_admitted == 5
    with hold(admission, 1), admission.admit() as place, pytest.raises(RefusalError), admission.admit_more(place, 63):
        pass
    assert admission.num_admitted == 0
