"""Replicas notice when one of them dies, and one of them takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.replicas import Replicas
from service.tables import metadata, replicas


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    """An open database with our tables."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    metadata.create_all(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    """The observers' clock."""
    return Clock()


@pytest.fixture
def join(connection: sa.Connection, clock: Clock) -> Callable[[str], Replicas]:
    """Makes a replica that has shown itself."""

    def make(name: str) -> Replicas:
        made = Replicas(name, is_exclusive=False, clock=clock)
        made.beat(connection)
        return made

    return make


def let_pass(
    clock: Clock, connection: sa.Connection, seconds: int, *, lookers: Sequence[Replicas], living: Sequence[Replicas]
) -> None:
    """Time in which some look and some show themselves, every three seconds; the last look is the caller's."""
    for _ in range(0, seconds, 3):
        for one in living:
            one.beat(connection)
        for one in lookers:
            one.claim_dead(connection)
        clock.now += 3


def test_one_that_beats_is_alive_and_one_that_stands_still_is_dead(
    connection: sa.Connection, clock: Clock, join: Callable[[str], Replicas]
) -> None:
    a, b = join("a"), join("b")
    for _ in range(20):
        assert a.claim_dead(connection) == []
        clock.now += 3
        b.beat(connection)
    for seconds in (0, 5, 5, 4.9):
        clock.now += seconds
        assert a.claim_dead(connection) == []
    clock.now += 0.1
    assert a.claim_dead(connection) == ["b"]
    a.forget(connection, "b")
    assert a.claim_dead(connection) == []


def test_only_one_takes_over_unless_it_dies_over_it(
    connection: sa.Connection, clock: Clock, join: Callable[[str], Replicas]
) -> None:
    a, b, c = join("a"), join("b"), join("c")
    let_pass(clock, connection, 15, lookers=(a, b), living=(a, b))
    assert a.claim_dead(connection) == ["c"]
    assert b.claim_dead(connection) == []
    assert a.claim_dead(connection) == ["c"], "it may have failed the first time"
    let_pass(clock, connection, 15, lookers=(b,), living=(b,))
    assert b.claim_dead(connection) == ["a", "c"]
    del c


def test_one_that_leaves_is_taken_over_at_once(connection: sa.Connection, join: Callable[[str], Replicas]) -> None:
    a, b = join("a"), join("b")
    b.leave(connection)
    assert a.claim_dead(connection) == ["b"]


def test_one_that_was_taken_for_dead_shows_itself_again(
    connection: sa.Connection, clock: Clock, join: Callable[[str], Replicas]
) -> None:
    a, b = join("a"), join("b")
    let_pass(clock, connection, 15, lookers=(a,), living=(a,))
    assert a.claim_dead(connection) == ["b"]
    a.forget(connection, "b")
    b.beat(connection)
    assert set(connection.scalars(sa.select(replicas.c.id))) == {"a", "b"}


def test_who_has_the_database_alone_knows_that_others_are_of_the_past(connection: sa.Connection, clock: Clock) -> None:
    Replicas("old", is_exclusive=True, clock=clock).beat(connection)
    new = Replicas("new", is_exclusive=True, clock=clock)
    new.beat(connection)
    assert new.claim_dead(connection) == ["old"]


def test_after_a_time_without_looking_nobody_is_taken_for_dead_at_once(
    connection: sa.Connection, clock: Clock, join: Callable[[str], Replicas]
) -> None:
    a, b = join("a"), join("b")
    a.claim_dead(connection)
    clock.now += 60  # the database was away, for the other one as well
    assert a.claim_dead(connection) == []
    b.beat(connection)
    clock.now += 3
    assert a.claim_dead(connection) == []
    let_pass(clock, connection, 15, lookers=(a,), living=(a,))
    assert a.claim_dead(connection) == ["b"]


def test_one_that_was_forgotten_and_left_is_known_again(
    connection: sa.Connection, join: Callable[[str], Replicas]
) -> None:
    a, b = join("a"), join("b")
    a.forget(connection, "b")
    assert a.find_unknown(connection, {"a", "b"}) == {"b"}
    b.leave(connection)
    assert a.find_unknown(connection, {"a", "b"}) == set()
    assert a.claim_dead(connection) == ["b"]
