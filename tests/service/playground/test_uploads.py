"""How much the playground's folder holds, and for how long."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from service.errors import RefusalError
from service.playground.uploads import UploadFolder


def put(path: Path, num_bytes: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(num_bytes))
    return path


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "other").hardlink_to(put(tmp_path / "hash" / "one", 100))
    assert UploadFolder(tmp_path, 1000).measure() == 100


def test_what_the_page_brought_along_neither_counts_nor_goes(tmp_path: Path) -> None:
    own = put(tmp_path / "hash" / "sample.png", 100)
    folder = UploadFolder(tmp_path, 1000, kept_seconds=0)
    folder.keep_what_is_there()
    new = put(tmp_path / "new" / "one", 30)
    assert folder.measure() == 30
    time.sleep(0.01)
    folder.sweep()
    assert own.exists()
    assert not new.exists()
    assert not new.parent.exists()
    assert tmp_path.exists()


def test_what_is_still_needed_is_touched_and_stays(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, 1000, kept_seconds=0.5)
    old, needed = put(tmp_path / "a" / "old", 1), put(tmp_path / "b" / "needed", 1)
    time.sleep(0.6)
    needed.touch()
    folder.sweep()
    assert not old.exists()
    assert needed.exists()


async def test_a_file_that_is_swept_frees_its_room(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, 100, kept_seconds=0.3)
    put(tmp_path / "old", 100)
    with pytest.raises(RefusalError, match="no room for 1 bytes"):
        async with folder.reserve(1):
            pass
    await asyncio.sleep(0.4)
    async with folder.reserve(100):
        pass
    assert not (tmp_path / "old").exists()


async def test_the_sweeper_comes_by_itself(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, 100, kept_seconds=0.05)
    old = put(tmp_path / "old", 1)
    sweeping = asyncio.ensure_future(folder.sweep_on_schedule())
    await asyncio.sleep(0.5)
    sweeping.cancel()
    assert not old.exists()


async def test_uploads_at_once_do_not_get_the_same_room(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, 100)
    taken = 0

    async def upload() -> None:
        nonlocal taken
        async with folder.reserve(40):
            taken += 1
            await asyncio.sleep(0.2)

    results = await asyncio.gather(*(upload() for _ in range(5)), return_exceptions=True)
    assert taken == 2
    assert sum(isinstance(result, RefusalError) for result in results) == 3
    async with folder.reserve(100):  # what is not written gives its room back
        pass


async def test_it_says_when_the_oldest_file_goes(tmp_path: Path) -> None:
    folder = UploadFolder(tmp_path, 10, kept_seconds=60)
    put(tmp_path / "one", 10)
    with pytest.raises(RefusalError) as caught:
        async with folder.reserve(1):
            pass
    assert caught.value.retry_after_seconds in (60, 61)
    assert "Try again in 6" in str(caught.value)


def test_what_goes_while_it_is_counted_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "walk", lambda _, **__: [(str(tmp_path), [], ["gone"])])
    assert UploadFolder(tmp_path, 10).measure() == 0
