"""The folder of what visitors upload and download: how much it may hold in all, and for how long.

Each upload has a limit of its own elsewhere; without one for all of them an hour of uploads could fill the disk. Files
are swept when they are older than their time, by a task and before anything new is refused, and that frees the room.
What the page itself put there when it was built (its samples) neither counts nor goes. Not about who may upload.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from service.errors import RefusalError

KEPT_SECONDS = 3600
"""How long uploads and results stay on disk."""
_SWEEP_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A file: its bytes, its inode (several names may be one file), and when it was last written or touched."""

    path: Path
    num_bytes: int
    inode: int
    touched: float


class UploadFolder:
    """A folder with room for so many bytes. path: exists. kept_seconds: what is older goes."""

    def __init__(self, path: Path, max_bytes: int, kept_seconds: float = KEPT_SECONDS) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._kept_seconds = kept_seconds
        self._own: frozenset[Path] = frozenset()
        self._reserved_bytes = 0

    def keep_what_is_there(self) -> None:
        """Take the files that lie here now for the page's own."""
        self._own = frozenset(file.path for file in self._list_files())

    def measure(self) -> int:
        """Bytes of all files but the page's own."""
        return sum({file.inode: file.num_bytes for file in self._list_files()}.values())

    @asynccontextmanager
    async def reserve(self, num_bytes: int) -> AsyncIterator[None]:
        """Room for so many bytes while they are written; afterwards they count as they lie there.

        What is being written may count twice meanwhile. Raises RefusalError if there is no room, and says when there
        may be.
        """
        reserved = self._reserved_bytes
        held, free_in_seconds = await asyncio.to_thread(self._look)
        held += max(reserved, self._reserved_bytes)  # one that ended meanwhile may not have been seen whole
        if num_bytes > self._max_bytes:
            raise RefusalError(
                "body_too_large",
                f"The upload is {num_bytes:,} bytes long; the playground holds {self._max_bytes:,} in all. Send a "
                "smaller file, or raise GENRM_PLAYGROUND_MAX_BYTES.",
            )
        if held + num_bytes > self._max_bytes:
            raise RefusalError(
                "no_room",
                f"There is no room for {num_bytes:,} bytes: the playground holds {held:,} of {self._max_bytes:,} "
                f"allowed. Try again in {_describe_wait(free_in_seconds)}, when older files go, or raise "
                "GENRM_PLAYGROUND_MAX_BYTES.",
                retry_after_seconds=free_in_seconds,
            )
        self._reserved_bytes += num_bytes
        try:
            yield
        finally:
            self._reserved_bytes -= num_bytes

    async def sweep_on_schedule(self) -> None:
        """Sweep again and again; cancel it to stop."""
        while True:
            await asyncio.sleep(min(_SWEEP_SECONDS, self._kept_seconds))
            await asyncio.to_thread(self.sweep)

    def sweep(self) -> None:
        """Delete files that are older than their time, and folders that have been empty for as long."""
        oldest = time.time() - self._kept_seconds
        for file in list(self._list_files()):
            if file.touched < oldest:
                file.path.unlink(missing_ok=True)
        for folder, _, _ in os.walk(self.path, topdown=False):
            path = Path(folder)
            try:
                if path.parent != self.path.parent and path.stat().st_mtime < oldest:
                    path.rmdir()
            except OSError:  # not empty, or gone
                continue

    def _look(self) -> tuple[int, int]:
        """Sweep; bytes that are left, and after how many seconds the oldest file of them goes."""
        self.sweep()
        files = list(self._list_files())
        oldest = min((file.touched for file in files), default=time.time())
        held = sum({file.inode: file.num_bytes for file in files}.values())
        return held, max(1, round(oldest + self._kept_seconds - time.time()) + 1)

    def _list_files(self) -> Iterator[_Held]:
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder, name)
                if path in self._own:
                    continue
                try:
                    found = path.lstat()
                except FileNotFoundError:
                    continue
                touched = max(found.st_mtime, found.st_ctime)
                yield _Held(path=path, num_bytes=found.st_size, inode=found.st_ino, touched=touched)


def _describe_wait(seconds: int) -> str:
    return f"{seconds} s" if seconds < 90 else f"{round(seconds / 60)} minutes"
