"""A live service with a database, and OpenAI's own client to talk to it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from openai.types import Batch

if TYPE_CHECKING:
    from tests.service.conftest import LiveServer, MakeBody, OpenApp, Serve

ENDED = ("completed", "failed", "expired", "cancelled")


def is_ended(batch: Batch) -> bool:
    return batch.status in ENDED


MakeLine = Callable[..., dict[str, Any]]
ServeBatches = Callable[..., AbstractContextManager["BatchCaller"]]


@dataclass(frozen=True)
class BatchCaller:
    """Someone with OpenAI's client. client: theirs. server: what it talks to."""

    server: LiveServer
    client: openai.OpenAI

    def start(self, lines: Sequence[dict[str, Any] | bytes], **options: Any) -> Batch:
        """Upload lines and start a batch of them."""
        content = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
        file = self.client.files.create(file=("rows.jsonl", content), purpose="batch")
        return self.client.batches.create(
            **{"input_file_id": file.id, "endpoint": "/v1/judge", "completion_window": "24h", **options}
        )

    def wait(self, batch: Batch, *, until: Callable[[Batch], bool] = is_ended, seconds: float = 60) -> Batch:
        """The batch when it has ended, or is as wanted."""
        limit = time.monotonic() + seconds
        while not until(now := self.client.batches.retrieve(batch.id)):
            assert time.monotonic() < limit, f"the batch is still {now.status}: {now.request_counts}"
            time.sleep(0.05)
        return now

    def read(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a result file; none if there is no file."""
        if file_id is None:
            return []
        return [json.loads(line) for line in self.client.files.content(file_id).content.splitlines()]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """URL of a new SQLite database."""
    return f"sqlite:///{tmp_path / 'genrm.db'}"


@pytest.fixture
def serve_batches(serve: Serve, database: str) -> ServeBatches:
    """Starts a live server on the database and gives it with a client of OpenAI's."""

    @contextmanager
    def start(*args: Any, **settings: Any) -> Iterator[BatchCaller]:
        with (
            serve(*args, **{"database_url": database, **settings}) as server,
            openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client,
        ):
            yield BatchCaller(server, client)

    return start


@pytest.fixture
def make_line(make_body: MakeBody) -> MakeLine:
    """Builds a line of a batch that is right; fields of its body can be given."""

    def make(custom_id: str, **fields: Any) -> dict[str, Any]:
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/judge", "body": make_body(mode="fast", **fields)}

    return make


@pytest.fixture
async def batches_client(open_app: OpenApp, database: str) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an application in this process that has a database."""
    async with open_app(database_url=database) as http:
        yield http
