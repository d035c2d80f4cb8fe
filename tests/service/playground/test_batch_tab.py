"""The tab *Batch* against a service that refuses for a while: the batch goes on, so the page watches on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from service.error_responses import list_failure_headers, render_error
from service.errors import RefusalError, describe_failure
from service.playground.batch_tab import BatchTab
from service.playground.calls import Api
from service.playground.uploads import UploadFolder
from service.samples import load_shipped_samples, write_batch_line

VISIT = cast("Any", SimpleNamespace(headers={}, cookies={}))
OVER_QUOTA = describe_failure(RefusalError("rate_limited", "Too many requests.", retry_after_seconds=7))


@dataclass
class Refusing:
    """A service with one batch, which has ended at the third look; each path refuses as often as `refusals` says."""

    refusals: dict[str, int] = field(default_factory=dict)
    num_looks: int = 0

    def answer(self, path: str, content: object) -> Response:
        if self.refusals.get(path, 0) > 0:
            self.refusals[path] -= 1
            return Response(render_error(OVER_QUOTA), OVER_QUOTA.status, headers=list_failure_headers(OVER_QUOTA))
        return Response(content) if isinstance(content, str) else JSONResponse(content)

    def describe(self) -> dict[str, object]:
        """The batch as it stands."""
        times = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        is_over = self.num_looks > 2
        return {
            "id": "batch_1",
            "endpoint": "/v1/judge",
            "errors": None,
            "input_file_id": "file_in",
            "completion_window": "24h",
            "status": "completed" if is_over else "in_progress",
            "output_file_id": "file_out",
            "error_file_id": None,
            "created_at": 0,
            "expires_at": 1,
            **{f"{name}_at": None for name in times},
            "request_counts": {"total": 1, "completed": int(is_over), "failed": 0},
            "metadata": {},
        }

    def look(self) -> Response:
        answer = self.answer("look", self.describe())
        self.num_looks += answer.status_code == 200
        return answer

    def build(self) -> FastAPI:
        app = FastAPI()
        app.post("/v1/files")(lambda: self.answer("send", {"id": "file_in"}))
        app.post("/v1/batches")(self.describe)
        app.get("/v1/batches/batch_1")(self.look)
        app.get("/v1/files/file_out")(lambda: self.answer("file", {"bytes": 3}))
        app.get("/v1/files/file_out/content")(lambda: self.answer("content", "{}\n"))
        return app


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the page waited each time, without waiting."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("service.playground.batch_tab.asyncio.sleep", sleep)
    return waited


async def watch(service: Refusing, folder: Path) -> list[tuple[Any, ...]]:
    samples = load_shipped_samples()
    file = folder / "rows.jsonl"
    file.write_text(write_batch_line(samples[0]), "utf-8")
    tab = BatchTab(Api(service.build()), samples, UploadFolder(folder, max_bytes=10_000_000))
    return [shown async for shown in tab.run(str(file), VISIT)]


async def test_a_batch_is_watched_on_after_refusals(pauses: list[float], tmp_path: Path) -> None:
    service = Refusing({"send": 1, "look": 2, "file": 1, "content": 1})
    progress, problems, files, batch_id = (await watch(service, tmp_path))[-1]
    assert "completed:</strong> 1 of 1 rows" in progress
    assert (problems, batch_id) == ("", "batch_1")
    assert [each["orig_name"] for each in files.value] == ["results.jsonl", "preferences.jsonl"]
    assert pauses.count(7) == 5
    assert not any(service.refusals.values())


async def test_refusals_without_end_are_shown(pauses: list[float], tmp_path: Path) -> None:
    shown, *_ = (await watch(Refusing({"look": 1000}), tmp_path))[-1]
    assert "Too many requests." in shown
    assert pauses.count(7) == 5


def test_the_samples_of_two_visitors_are_two_files(tmp_path: Path) -> None:
    tab = BatchTab(Api(FastAPI()), load_shipped_samples(), UploadFolder(tmp_path, max_bytes=10_000_000))
    first, second = (Path(tab._write_samples()) for _ in range(2))
    assert first != second
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(first.read_text("utf-8").splitlines()[0])["url"] == "/v1/judge"
