"""Files as rows: uploaded ones in chunks of equal size, and what batches write, which is their results in order.

Everything here runs inside a transaction that the caller opened (`service.database`), a chunk or a page at a time, so
that a file never lies in memory as a whole.
"""

import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from service.tables import batches, chunks, files, results

CHUNK_BYTES = 2**20
Purpose = Literal["batch", "batch_output"]
Kind = Literal["output", "errors"]
_PAGE_LINES = 64
_INCOMPLETE = -1
"""Size of a file that is still being received."""
_DAY_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """What is known of a file. owner: the name of the API key that it belongs to; None without keys."""

    id: str
    owner: str | None
    filename: str
    purpose: Purpose
    num_bytes: int
    created_at: int
    expires_at: int
    result_of: tuple[str, bool] | None = None
    """The batch that wrote it, and whether it holds what failed."""


def name_result_file(batch_id: str, kind: Kind) -> str:
    """The id of what a batch writes."""
    return f"file-{batch_id.removeprefix('batch_')}-{kind}"


def begin_file(connection: sa.Connection, *, owner: str | None, filename: str, kept_seconds: int) -> str:
    """A new file that has no bytes yet and is not to be seen until `end_file`. Returns its id."""
    file_id = f"file-{uuid.uuid4().hex}"
    now = int(time.time())
    connection.execute(
        files.insert().values(
            id=file_id,
            owner=owner,
            filename=filename,
            purpose="batch",
            num_bytes=_INCOMPLETE,
            created_at=now,
            expires_at=now + kept_seconds,
        )
    )
    return file_id


def add_chunk(connection: sa.Connection, file_id: str, position: int, content: bytes) -> None:
    """The next bytes of a file; `CHUNK_BYTES` of them unless they are the last."""
    connection.execute(chunks.insert().values(file_id=file_id, position=position, content=content))


def end_file(connection: sa.Connection, file_id: str, num_bytes: int) -> None:
    """Say that a file is complete."""
    connection.execute(files.update().where(files.c.id == file_id).values(num_bytes=num_bytes))


def abandon_file(connection: sa.Connection, file_id: str) -> None:
    """Delete a file that is still being received."""
    connection.execute(files.delete().where(files.c.id == file_id))


def find_file(connection: sa.Connection, file_id: str, owner: str | None) -> StoredFile | None:
    """A file of that owner; None if there is none, or it belongs to somebody else."""
    if "\0" in file_id:  # PostgreSQL has no text with it
        return None
    query = files.select().where(files.c.id == file_id, whose(files, owner), files.c.num_bytes != _INCOMPLETE)
    row = connection.execute(query).mappings().one_or_none()
    return _read_file(row) if row is not None else _find_result_file(connection, file_id, owner)


def list_files(
    connection: sa.Connection,
    owner: str | None,
    *,
    after: str | None = None,
    limit: int,
    newest_first: bool = True,
    purpose: str | None = None,
) -> list[StoredFile]:
    """Uploaded files of an owner. after: the id of the last one that was seen."""
    query = files.select().where(whose(files, owner), files.c.num_bytes != _INCOMPLETE)
    if purpose is not None and "\0" in purpose:
        return []
    if purpose is not None:
        query = query.where(files.c.purpose == purpose)
    return [_read_file(row) for row in take_page(connection, query, files, after, limit, newest_first=newest_first)]


def delete_file(connection: sa.Connection, file: StoredFile) -> None:
    """Delete a file, or what stands in the results that it shows; that they were there still counts."""
    if file.result_of is None:
        connection.execute(files.delete().where(files.c.id == file.id))
    else:
        batch_id, is_error = file.result_of
        these = sa.and_(results.c.batch_id == batch_id, results.c.is_error == is_error)
        connection.execute(results.update().where(these).values(content=b"", num_bytes=0))


def read_chunk(connection: sa.Connection, file_id: str, position: int) -> bytes | None:
    """One chunk of an uploaded file; None after the last."""
    content: bytes | None = connection.scalar(
        sa.select(chunks.c.content).where(chunks.c.file_id == file_id, chunks.c.position == position)
    )
    return content


def read_result_page(
    connection: sa.Connection, batch_id: str, *, is_error: bool, after_line: int
) -> tuple[bytes, int] | None:
    """Some lines of what a batch wrote, and the number of the last of them; None after the last."""
    rows = connection.execute(
        sa.select(results.c.line, results.c.content)
        .where(results.c.batch_id == batch_id, results.c.is_error == is_error, results.c.line > after_line)
        .order_by(results.c.line)
        .limit(_PAGE_LINES)
    ).all()
    return (b"".join(row.content for row in rows), rows[-1].line) if rows else None


def delete_expired_files(connection: sa.Connection, now: int, *, keep: Collection[str]) -> None:
    """Delete uploaded files whose time is over, and those whose upload broke off a day ago. keep: files in use."""
    broken_off = sa.and_(files.c.num_bytes == _INCOMPLETE, files.c.created_at < now - _DAY_SECONDS)
    connection.execute(files.delete().where(sa.or_(files.c.expires_at < now, broken_off), files.c.id.not_in(keep)))


def _find_result_file(connection: sa.Connection, file_id: str, owner: str | None) -> StoredFile | None:
    stem, _, kind = file_id.rpartition("-")
    if kind not in ("output", "errors") or not stem.startswith("file-"):
        return None
    batch_id = f"batch_{stem.removeprefix('file-')}"
    batch = connection.execute(batches.select().where(batches.c.id == batch_id, whose(batches, owner))).one_or_none()
    if batch is None:
        return None
    is_error = kind == "errors"
    num_bytes = connection.scalar(
        sa.select(sa.func.sum(results.c.num_bytes)).where(
            results.c.batch_id == batch_id, results.c.is_error == is_error
        )
    )
    if not num_bytes:  # there are none, or their file was deleted
        return None
    return StoredFile(
        id=file_id,
        owner=owner,
        filename=f"{batch_id}_{kind}.jsonl",
        purpose="batch_output",
        num_bytes=int(num_bytes),
        created_at=batch.created_at,
        expires_at=batch.kept_until,
        result_of=(batch_id, is_error),
    )


def whose(table: sa.Table, owner: str | None) -> sa.ColumnElement[bool]:
    """Whether a row of a table is the owner's. Without keys, everything is everybody's."""
    return sa.true() if owner is None else table.c.owner == owner


def take_page(
    connection: sa.Connection,
    query: sa.Select[*tuple[object, ...]],
    table: sa.Table,
    after: str | None,
    limit: int,
    *,
    newest_first: bool,
) -> Iterator[sa.RowMapping]:
    """Rows in the order of their creation, those of the same second by id."""
    position = sa.tuple_(table.c.created_at, table.c.id)
    if after is not None and "\0" in after:
        return
    if after is not None:
        seen = connection.execute(sa.select(table.c.created_at, table.c.id).where(table.c.id == after)).one_or_none()
        if seen is None:
            return
        edge = sa.tuple_(sa.literal(seen.created_at), sa.literal(seen.id))
        query = query.where(position < edge if newest_first else position > edge)
    order = [column.desc() if newest_first else column.asc() for column in (table.c.created_at, table.c.id)]
    yield from connection.execute(query.order_by(*order).limit(limit)).mappings()


def _read_file(row: sa.RowMapping) -> StoredFile:
    return StoredFile(**row)
