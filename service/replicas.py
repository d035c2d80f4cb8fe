"""Which processes share a database, and which of them have died.

Each counts its own row up; one whose row stands still is dead. What counts is how long it stood still by the
observer's clock, so that clocks of machines need not agree. Taking over what the dead one did is the caller's business;
only one replica gets to do it.
"""

import math
import time
from collections.abc import Callable

import sqlalchemy as sa

from service.tables import replicas

BEAT_SECONDS = 3.0
_PATIENCE_SECONDS = 15.0
_LEFT = -1
"""Beat of a replica that has stopped in order."""


class Replicas:
    """One replica's view of the others. For one thread at a time; everything runs in transactions of the caller's.

    replica_id: its own name. is_exclusive: whether others can only be of the past. clock: seconds, never going back.
    """

    def __init__(self, replica_id: str, *, is_exclusive: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.replica_id = replica_id
        self._patience_seconds = 0.0 if is_exclusive else _PATIENCE_SECONDS
        self._clock = clock
        self._beat = 0
        self._looked_at = -math.inf
        self._seen: dict[str, tuple[int, float]] = {}
        """Of each other replica the last beat, and since when it is that."""

    def beat(self, connection: sa.Connection) -> None:
        """Show that this one lives."""
        self._beat += 1
        self._write(connection, self._beat)

    def leave(self, connection: sa.Connection) -> None:
        """Say that this one stops, so that the others need not wait to be sure."""
        self._write(connection, _LEFT)

    def _write(self, connection: sa.Connection, beat: int) -> None:
        """Also where others have taken this one for dead and forgotten it."""
        own = replicas.c.id == self.replica_id
        if connection.execute(replicas.update().where(own).values(beat=beat)).rowcount == 0:
            connection.execute(replicas.insert().values(id=self.replica_id, beat=beat))

    def claim_dead(self, connection: sa.Connection) -> list[str]:
        """Replicas that are dead and whose work is now this one's to take over; to be forgotten once that is done."""
        now = self._clock()
        if now - self._looked_at > 2 * BEAT_SECONDS:
            self._seen.clear()  # this one could not look, so perhaps the others could not beat either
        self._looked_at = now
        rows = connection.execute(replicas.select().where(replicas.c.id != self.replica_id)).all()
        self._seen = {
            row.id: seen if (seen := self._seen.get(row.id)) and seen[0] == row.beat else (row.beat, now)
            for row in rows
        }
        dead = {row.id for row in rows if self._is_dead(row.id, now)}
        living = [self.replica_id, *(row.id for row in rows if row.id not in dead)]
        mine = replicas.c.taken_over_by == self.replica_id
        free = sa.or_(replicas.c.taken_over_by.is_(None), replicas.c.taken_over_by.not_in(living), mine)
        return [
            one
            for one in sorted(dead)
            if connection.execute(
                replicas.update().where(replicas.c.id == one, free).values(taken_over_by=self.replica_id)
            ).rowcount
        ]

    def find_unknown(self, connection: sa.Connection, replica_ids: set[str]) -> set[str]:
        """Those of some replicas that nobody knows: taken for dead and forgotten, and dead soon after."""
        return replica_ids - set(connection.scalars(sa.select(replicas.c.id)))

    def forget(self, connection: sa.Connection, replica_id: str) -> None:
        """Delete a dead replica that has been taken over."""
        connection.execute(replicas.delete().where(replicas.c.id == replica_id))

    def _is_dead(self, replica_id: str, now: float) -> bool:
        beat, since = self._seen[replica_id]
        return beat == _LEFT or now - since >= self._patience_seconds
