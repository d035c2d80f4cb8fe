"""Batches as rows: their states, the pieces they are worked off in, and what came of each line.

Everything here runs inside a transaction that the caller opened (`service.database`). A state is only left for one that
may follow it, so that a cancellation and an end that meet cannot undo each other.
"""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from service.batches.files import take_page, whose
from service.tables import batches, pieces, results

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
ENDED: tuple[Status, ...] = ("failed", "completed", "expired", "cancelled")
_MAY_FOLLOW: dict[Status, tuple[Status, ...]] = {
    "in_progress": ("validating",),
    "finalizing": ("in_progress",),
    "completed": ("finalizing",),
    "failed": ("validating", "in_progress", "finalizing", "cancelling"),
    "expired": ("in_progress", "finalizing"),
    "cancelling": ("validating", "in_progress"),
    "cancelled": ("cancelling",),
}
_INSERTS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class BatchProblem:
    """Why a batch is not worked on at all. line: its number in the file, from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch as it stands. Times are seconds since 1970. num_lines: 0 until the file has been read."""

    id: str
    owner: str | None
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str]
    status: Status
    errors: tuple[BatchProblem, ...]
    num_lines: int
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    kept_until: int
    has_expired: bool


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Lines of a batch that lie together. Lines are counted from 1, bytes are those of the input file."""

    position: int
    first_line: int
    last_line: int
    start_byte: int
    end_byte: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a line: the line that it becomes in the output file, or in the error file."""

    line: int
    is_error: bool
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Lines of a batch by what came of them. has_output, has_errors: whether there is a file of them to be read, which
    may have been deleted.
    """

    num_completed: int = 0
    num_failed: int = 0
    has_output: bool = False
    has_errors: bool = False


def add_batch(
    connection: sa.Connection,
    *,
    owner: str | None,
    endpoint: str,
    input_file_id: str,
    completion_window: str,
    window_seconds: int,
    kept_seconds: int,
    metadata: dict[str, str],
) -> Batch:
    """A new batch, which is `validating`."""
    now = int(time.time())
    batch_id = f"batch_{uuid.uuid4().hex}"
    connection.execute(
        batches.insert().values(
            id=batch_id,
            owner=owner,
            endpoint=endpoint,
            input_file_id=input_file_id,
            completion_window=completion_window,
            metadata=json.dumps(metadata),
            status="validating",
            num_lines=0,
            has_expired=False,
            created_at=now,
            expires_at=now + window_seconds,
            kept_until=now + window_seconds + kept_seconds,
        )
    )
    batch = find_batch(connection, batch_id, owner)
    assert batch is not None
    return batch


def find_batch(connection: sa.Connection, batch_id: str, owner: str | None) -> Batch | None:
    """A batch of that owner; None if there is none, or it belongs to somebody else."""
    if "\0" in batch_id:  # PostgreSQL has no text with it
        return None
    query = batches.select().where(batches.c.id == batch_id, whose(batches, owner))
    row = connection.execute(query).mappings().one_or_none()
    return _read_batch(row) if row is not None else None


def list_batches(connection: sa.Connection, owner: str | None, *, after: str | None = None, limit: int) -> list[Batch]:
    """Batches of an owner, newest first. after: the id of the last one that was seen."""
    query = batches.select().where(whose(batches, owner))
    return [_read_batch(row) for row in take_page(connection, query, batches, after, limit, newest_first=True)]


def list_open_batches(connection: sa.Connection) -> list[Batch]:
    """All batches that have not ended, oldest first."""
    query = batches.select().where(batches.c.status.not_in(ENDED)).order_by(batches.c.created_at)
    return [_read_batch(row) for row in connection.execute(query).mappings()]


def is_file_in_use(connection: sa.Connection, file_id: str) -> bool:
    """Whether a batch that has not ended reads a file, or writes it."""
    stem = file_id.removeprefix("file-").rpartition("-")[0]
    uses = sa.or_(batches.c.input_file_id == file_id, batches.c.id == f"batch_{stem}")
    query = sa.select(sa.exists().where(uses, batches.c.status.not_in(ENDED)))
    return bool(connection.scalar(query))


def move_batch(
    connection: sa.Connection, batch_id: str, status: Status, *, errors: Sequence[BatchProblem] = ()
) -> bool:
    """Put a batch into a state, with the time. False if that may not follow the state that it is in."""
    values: dict[str, object] = {"status": status, f"{status}_at": int(time.time())}
    if errors:
        values["errors"] = json.dumps([vars(problem) for problem in errors])
    changed = connection.execute(
        batches.update().where(batches.c.id == batch_id, batches.c.status.in_(_MAY_FOLLOW[status])).values(values)
    )
    return changed.rowcount == 1


def note_expiry(connection: sa.Connection, batch_id: str) -> None:
    """Say that lines of a batch came too late, so that it will end as expired."""
    connection.execute(batches.update().where(batches.c.id == batch_id).values(has_expired=True))


def set_plan(connection: sa.Connection, batch_id: str, num_lines: int, plan: Sequence[Piece]) -> None:
    """Note the lines of a batch and the pieces that they are worked off in, in place of any noted before."""
    connection.execute(pieces.delete().where(pieces.c.batch_id == batch_id))
    for start in range(0, len(plan), _INSERTS_AT_ONCE):
        rows = [
            {**vars(piece), "batch_id": batch_id, "is_done": False, "num_idle_starts": 0, "num_results_seen": 0}
            for piece in plan[start : start + _INSERTS_AT_ONCE]
        ]
        connection.execute(pieces.insert(), rows)
    connection.execute(batches.update().where(batches.c.id == batch_id).values(num_lines=num_lines))


def count_pieces(connection: sa.Connection, batch_id: str) -> tuple[int, int]:
    """How many pieces a batch has, and how many of them are done."""
    num, num_done = connection.execute(
        sa.select(sa.func.count(), sa.func.count().filter(pieces.c.is_done)).where(pieces.c.batch_id == batch_id)
    ).one()
    return num, num_done


def start_piece(connection: sa.Connection, batch_id: str, position: int) -> tuple[Piece, int]:
    """A piece that a worker takes up, and how often one took it up before without a single line done.

    That is more than a few times only if one of its lines brings the process down.
    """
    here = sa.and_(pieces.c.batch_id == batch_id, pieces.c.position == position)
    row = connection.execute(pieces.select().where(here)).one()
    piece = Piece(
        position=row.position,
        first_line=row.first_line,
        last_line=row.last_line,
        start_byte=row.start_byte,
        end_byte=row.end_byte,
    )
    num_results = len(list_done_lines(connection, batch_id, piece))
    num_idle_starts = row.num_idle_starts + 1 if num_results == row.num_results_seen else 1
    connection.execute(
        pieces.update().where(here).values(num_idle_starts=num_idle_starts, num_results_seen=num_results)
    )
    return piece, num_idle_starts - 1


def leave_piece(connection: sa.Connection, batch_id: str, position: int) -> None:
    """Say that a worker left a piece in order, which says nothing against its lines."""
    here = sa.and_(pieces.c.batch_id == batch_id, pieces.c.position == position, pieces.c.num_idle_starts > 0)
    connection.execute(pieces.update().where(here).values(num_idle_starts=pieces.c.num_idle_starts - 1))


def end_piece(connection: sa.Connection, batch_id: str, position: int) -> None:
    """Say that nothing is left to do of a piece."""
    here = sa.and_(pieces.c.batch_id == batch_id, pieces.c.position == position)
    connection.execute(pieces.update().where(here).values(is_done=True))


def list_done_lines(connection: sa.Connection, batch_id: str, piece: Piece) -> set[int]:
    """The lines of a piece that have a result."""
    query = sa.select(results.c.line).where(
        results.c.batch_id == batch_id, results.c.line.between(piece.first_line, piece.last_line)
    )
    return set(connection.scalars(query))


def add_result(connection: sa.Connection, batch_id: str, result: Result) -> bool:
    """Keep what came of a line. False if the line had a result already, which stays."""
    values = {**vars(result), "batch_id": batch_id, "num_bytes": len(result.content)}
    try:
        with connection.begin_nested():
            connection.execute(results.insert().values(values))
    except sa.exc.IntegrityError:
        return False
    return True


def count_results(connection: sa.Connection, batch_id: str) -> Counts:
    """How many lines of a batch have been completed and have failed, and which files there are."""
    query = (
        sa.select(results.c.is_error, sa.func.count(), sa.func.sum(results.c.num_bytes))
        .where(results.c.batch_id == batch_id)
        .group_by(results.c.is_error)
    )
    found = {is_error: (num_lines, num_bytes > 0) for is_error, num_lines, num_bytes in connection.execute(query)}
    (num_completed, has_output), (num_failed, has_errors) = (found.get(kind, (0, False)) for kind in (False, True))
    return Counts(num_completed=num_completed, num_failed=num_failed, has_output=has_output, has_errors=has_errors)


def delete_old_batches(connection: sa.Connection, now: int) -> list[str]:
    """Delete ended batches whose time is over, with their results. Returns their ids."""
    old = sa.and_(batches.c.kept_until < now, batches.c.status.in_(ENDED))
    ids = list(connection.scalars(sa.select(batches.c.id).where(old)))
    connection.execute(batches.delete().where(batches.c.id.in_(ids)))
    return ids


def _read_batch(row: sa.RowMapping) -> Batch:
    values = dict(row)
    problems = json.loads(values["errors"] or "[]")
    return Batch(
        **{
            **values,
            "metadata": json.loads(values["metadata"]),
            "errors": tuple(BatchProblem(**problem) for problem in problems),
        }
    )
