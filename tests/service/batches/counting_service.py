"""A real service process on a slow engine that notes each judgement in a file before it answers; run by tests that
kill it.

Usage: counting_service.py DATABASE_URL PORT NOTES SECONDS
"""

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from service.app import create_app
from service.server import open_port, run_server
from service.settings import load_settings

_NAME = re.compile(r"row-\d+")


class NotingEngine(FakeEngine):
    """The fake engine, with a time that a judgement takes and a line in a file for each."""

    def __init__(self, notes: Path, seconds: float) -> None:
        super().__init__()
        self._notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._seconds = seconds

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the fake engine."""
        found = _NAME.search(prompts[0].shared)
        assert found is not None
        os.write(self._notes, f"{found.group()} {os.getpid()}\n".encode())
        await asyncio.sleep(self._seconds)
        return await super().complete(prompts, sampling, on_text=on_text)


def main() -> None:
    """Serve until killed."""
    database_url, port, notes, seconds = sys.argv[1:]
    settings = load_settings(database_url=database_url, batch_workers=4, shutdown_delay_seconds=0)
    engine = NotingEngine(Path(notes), float(seconds))
    with open_port("127.0.0.1", int(port)) as listener:
        run_server(create_app(settings, lambda *_: engine, lambda *_: None), settings, listener, lambda _: None)


if __name__ == "__main__":
    main()
