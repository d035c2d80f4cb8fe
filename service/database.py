"""The one database of a service: files, batches, remembered answers. SQLite for one process, PostgreSQL for replicas.

Statements run in threads, each in a transaction of its own; what they mean is `service.batches`' and
`service.idempotency`'s business. The workflow engine keeps its tables in the same database, over connections of its
own.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import platformdirs
import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from service.errors import StartError, StorageError
from service.tables import metadata

NONE = "none"
"""Of GENRM_DATABASE_URL: keep nothing."""
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_BUSY_MILLISECONDS = 30_000
_MAX_THREADS = 8
"""Of its own: a database that hangs must not hold up what decodes pictures."""
_POSTGRESQL_LIMITS = {"connect_timeout": 5, "tcp_user_timeout": 15_000, "keepalives_idle": 10}
"""Seconds, milliseconds, seconds: a server that is gone is an error and not a silence."""
_SCHEMA_LOCK = 7_310_421
"""Number of the advisory lock that replicas take while they create tables."""

_T = TypeVar("_T")


def read_database_url(given: str | None) -> sa.URL | None:
    """The database that a setting names; None if it is `none`.

    given: None is an SQLite file in the user's state folder. Raises StartError for what is neither SQLite nor
    PostgreSQL.
    """
    if given is None:
        return sa.URL.create("sqlite", database=str(platformdirs.user_state_path("vl-genrm") / "genrm.db"))
    if given == NONE:
        return None
    allowed = (
        "sqlite:////folder/genrm.db, postgresql://user:password@host/name and none are allowed. Correct "
        "GENRM_DATABASE_URL."
    )
    try:
        url = sa.make_url(given)
    except SQLAlchemyError:
        raise StartError(f"GENRM_DATABASE_URL is not a URL; {allowed}") from None  # it may hold a password
    backend = url.get_backend_name()
    if backend not in _DRIVERS:
        raise StartError(f"GENRM_DATABASE_URL names a database of kind {backend!r}; {allowed}")
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise StartError(f"GENRM_DATABASE_URL names no file; {allowed}")
    return url.set(drivername=_DRIVERS[backend])


class Database:
    """An open database with our tables.

    url: from `read_database_url`. Opening blocks. Raises StartError if it cannot be opened, or if it is an SQLite file
    that another process uses: two would take each other's work for lost.
    """

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self._lock: FileLock | None = None
        if self.is_exclusive:
            self._lock = _lock_file(url)
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="database")
        self._engine = sa.create_engine(
            url,
            pool_pre_ping=not self.is_exclusive,
            connect_args={} if self.is_exclusive else _POSTGRESQL_LIMITS,
        )
        if self.is_exclusive:
            event.listen(self._engine, "connect", _prepare_sqlite)
        try:
            self._create_tables()
        except SQLAlchemyError as error:
            self.close()
            reason = re.sub(r"\s+", " ", str(getattr(error, "orig", "") or type(error).__name__))
            raise StartError(
                f"The database {url.render_as_string(hide_password=True)} cannot be opened: {reason} Correct "
                "GENRM_DATABASE_URL, or set it to none: then there are no batches and no Idempotency-Key."
            ) from None

    @property
    def is_exclusive(self) -> bool:
        """Whether this process is the only one that uses it."""
        return self.url.get_backend_name() == "sqlite"

    def _create_tables(self) -> None:
        with self._engine.begin() as connection:
            if not self.is_exclusive:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
            metadata.create_all(connection)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection whose changes are kept if the block ends well. Blocks. Raises StorageError."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError("The service's database failed.") from error

    async def run(self, work: Callable[[sa.Connection], _T]) -> _T:
        """What `work` returns, run with a transaction in a thread. Raises StorageError."""

        def run_here() -> _T:
            with self.transaction() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, run_here)

    def close(self) -> None:
        """Let go of connections and of the file."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()


def _lock_file(url: sa.URL) -> FileLock:
    path = Path(str(url.database)).absolute()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=0, thread_local=False)
        lock.acquire()
        path.touch(mode=0o600)  # it holds callers' files
    except Timeout:
        raise StartError(
            f"The database {path} is in use by another service; an SQLite file takes one at a time. Give this one its "
            f"own, e.g. GENRM_DATABASE_URL=sqlite:///{path.with_name('genrm-2.db')}, let both use PostgreSQL, or set "
            "it to none."
        ) from None
    except OSError as error:
        raise StartError(
            f"The database {path} cannot be opened: {error.strerror}. Name a file in a folder that this user may "
            "write to with GENRM_DATABASE_URL, or set it to none: then there are no batches and no Idempotency-Key."
        ) from None
    return lock


def _prepare_sqlite(connection: object, _record: object) -> None:
    """One writer at a time that waits for its turn, readers that need not."""
    connection.isolation_level = "IMMEDIATE"  # type: ignore[attr-defined]
    for pragma in ("journal_mode=WAL", f"busy_timeout={_BUSY_MILLISECONDS}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]
