"""The database: which one, whose, and what is said when it cannot be had."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.database import Database, read_database_url
from service.errors import StartError, StorageError
from service.tables import files


def test_without_a_word_it_is_a_file_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    url = read_database_url(None)
    assert url is not None
    assert url.get_backend_name() == "sqlite"
    assert str(url.database).endswith("genrm.db")


def test_none_is_none() -> None:
    assert read_database_url("none") is None


@pytest.mark.parametrize("given", ["postgresql://u:p@h/n", "postgres://u:p@h/n", "postgresql+psycopg://u:p@h/n"])
def test_postgresql_is_spoken_to_with_one_driver(given: str) -> None:
    url = read_database_url(given)
    assert url is not None
    assert url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize("given", ["mysql://u:secret@h/n", "nonsense", "sqlite://", "sqlite:///:memory:", "://secret"])
def test_other_databases_are_refused_without_repeating_a_password(given: str) -> None:
    with pytest.raises(StartError, match="GENRM_DATABASE_URL") as refused:
        read_database_url(given)
    assert "secret" not in str(refused.value)


def open_file(path: Path) -> Database:
    url = read_database_url(f"sqlite:///{path}")
    assert url is not None
    return Database(url)


def test_a_file_and_its_folder_are_made_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "genrm.db"
    open_file(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_service_on_the_same_file_is_told_what_to_do(tmp_path: Path) -> None:
    first = open_file(tmp_path / "genrm.db")
    with pytest.raises(StartError, match=r"in use by another service.*genrm-2\.db"):
        open_file(tmp_path / "genrm.db")
    first.close()
    open_file(tmp_path / "genrm.db").close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "genrm.db").write_bytes(b"not a database, but long enough to be looked at" * 50)
    with pytest.raises(StartError, match="cannot be opened: file is not a database"):
        open_file(tmp_path / "genrm.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StartError, match="cannot be opened"):
        open_file(tmp_path / "genrm.db")


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="cannot be opened"):
        open_file(tmp_path / "file" / "genrm.db")


def test_a_server_that_is_not_there_is_an_error_without_its_password() -> None:
    url = read_database_url("postgresql://u:secret@127.0.0.1:9/n")
    assert url is not None
    with pytest.raises(StartError, match="cannot be opened") as refused:
        Database(url)
    assert "secret" not in str(refused.value)


async def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    database = open_file(tmp_path / "genrm.db")
    row = {"filename": "f", "purpose": "batch", "num_bytes": 0, "created_at": 0, "expires_at": 0}

    def add_twice(connection: sa.Connection) -> None:
        for _ in range(2):
            connection.execute(files.insert().values(id="same", **row))

    with pytest.raises(StorageError) as failed:
        await database.run(add_twice)
    assert "same" not in str(failed.value)
    assert await database.run(lambda connection: connection.scalar(sa.select(sa.func.count()).select_from(files))) == 0
    database.close()


def test_readers_of_a_file_need_not_wait_for_writers(tmp_path: Path) -> None:
    database = open_file(tmp_path / "genrm.db")
    with sqlite3.connect(tmp_path / "genrm.db") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    database.close()
