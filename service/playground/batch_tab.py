"""The tab *Batch*: a file of comparisons as a batch of the service, watched until it has ended."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar

import gradio as gr
import httpx

from service.batches.schemas import BatchObject
from service.errors import RefusalError
from service.exchange import ServiceError, translate_failures
from service.playground.batch_files import find_endpoint, read_failures, write_preferences
from service.playground.calls import URL, Api, find_pause_seconds, require_success
from service.playground.cards import render_error, render_note, render_pause, render_problems, render_progress
from service.playground.uploads import UploadFolder
from service.samples import Sample, write_batch_line

_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.5, 5.0
"""Between two looks at a batch, at its start and when it takes long: each counts for the visitor's quota."""
_MAX_FAILURES_SHOWN = 20
_MAX_FAILURE_BYTES = 200_000
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_EMPTY = (
    "Nothing is running.",
    (
        "Drop a JSONL file with one request per line, as POST /v1/batches takes it, or try it with the shipped "
        "samples. A batch goes on when this page is closed."
    ),
)
T = TypeVar("T")


class BatchTab:
    """Builds the tab and answers its buttons. api: how the service is asked. uploads: where results are put that can
    be downloaded, as long as there is room.
    """

    def __init__(self, api: Api, samples: tuple[Sample, ...], uploads: UploadFolder) -> None:
        self._api = api
        self._samples = samples
        self._uploads = uploads

    def build(self) -> None:
        """Lay the tab out, inside a Gradio block."""
        batch_id = gr.Textbox(visible="hidden")  # a State would make every open page keep a connection
        with gr.Row(elem_classes="vg-columns"):
            with gr.Column(scale=2, min_width=320):
                file = gr.File(
                    label="JSONL file of requests", file_count="single", type="filepath", elem_id="batch-file"
                )
                with gr.Row():
                    sample = gr.Button("Take the samples", elem_id="batch-sample")
                    stop = gr.Button("Cancel the batch", elem_id="batch-stop")
                run = gr.Button("Run the batch", variant="primary", elem_id="batch-run")
            with gr.Column(scale=3, min_width=320):
                progress = gr.HTML(render_note(*_EMPTY), elem_id="batch-progress")
                problems = gr.HTML("", elem_id="batch-problems")
                results = gr.File(
                    label="Results: verdicts, errors, preference rows for DPO",
                    file_count="multiple",
                    interactive=False,
                    visible=False,
                    elem_id="batch-results",
                )
        sample.click(self._write_samples, None, [file], api_visibility="private", show_progress="hidden")
        run.click(
            self.run,
            [file],
            [progress, problems, results, batch_id],
            api_visibility="private",
            concurrency_limit=None,
            show_progress="hidden",
        )
        stop.click(self.cancel, [batch_id], None, api_visibility="private", show_progress="hidden")

    def _write_samples(self) -> str:
        path = self._make_folder() / "samples.jsonl"  # a name of its own: somebody may be sending theirs
        path.write_text("".join(map(write_batch_line, self._samples)), "utf-8")
        return str(path)

    def _keep(self, path: Path) -> Path:
        """Another name for an upload, which stays when the visitor removes it; it is read again for the preference
        rows.
        """
        name = self._make_folder() / path.name
        name.hardlink_to(path)
        return name

    def _make_folder(self) -> Path:
        return Path(mkdtemp(dir=self._uploads.path))

    async def cancel(self, batch_id: str | None, request: gr.Request) -> None:
        """Cancel the batch that the page watches; one that has ended stays as it is."""
        if batch_id is not None and re.fullmatch(r"\w+", batch_id):  # the page sends it, so it may be anything
            async with self._api.open_plain(request) as http:
                await http.post(f"/v1/batches/{batch_id}/cancel")

    async def run(self, path: str | None, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """What is shown from the upload of a file to the end of its batch."""
        hidden = gr.File(value=None, visible=False)
        if not path:
            yield (
                render_note("No file is chosen.", "Drop a JSONL file, or take the samples.", kind="error"),
                "",
                hidden,
                None,
            )
            return
        yield render_progress(0, 0, state="Sending the file …"), "", hidden, None
        progress = problems = ""
        batch_id: str | None = None
        try:
            own = await asyncio.to_thread(self._keep, Path(path))
        except OSError:
            note = render_note(
                "The file is no longer here.", "Uploads are kept for an hour: choose it again.", kind="error"
            )
            yield note, "", hidden, None
            return
        try:
            with translate_failures(URL):
                async with self._api.open_plain(request) as http:
                    async for progress, problems, batch_id in self._watch(http, own):
                        yield progress, problems, hidden, batch_id
                        own.touch()  # what is still needed is not swept
                    files = await self._fetch_results(http, batch_id, own) if batch_id else []
        except RefusalError as error:
            note = render_note("The results are not shown.", f"{error} They are kept: GET /v1/batches.", kind="error")
            yield progress + note, problems, hidden, batch_id
            return
        except ServiceError as error:
            yield render_error(error), "", hidden, None
            return
        yield progress, problems, gr.File(value=files, visible=bool(files)), batch_id

    async def _watch(self, http: httpx.AsyncClient, path: Path) -> AsyncIterator[tuple[str, str, str | None]]:
        """Start the batch, and show how far it is until it has ended."""
        batch: BatchObject | None = None
        num_tries = 0
        while batch is None:
            num_tries += 1
            try:
                batch = await self._start(http, path)
            except ServiceError as error:
                seconds = find_pause_seconds(error, num_tries)
                if seconds is None:
                    raise
                yield render_pause(error, seconds, num_tries), "", None
                await asyncio.sleep(seconds)
        started = time.monotonic()
        failures: Sequence[tuple[str, str]] = ()
        while True:
            counts = batch.request_counts
            if counts.failed > len(failures) and len(failures) < _MAX_FAILURES_SHOWN:
                failures = await _read_failures(http, batch)
            done = counts.completed + counts.failed
            yield (
                _render_state(batch, done / max(0.001, time.monotonic() - started)),
                render_problems(failures, num_more=max(0, counts.failed - len(failures))),
                batch.id,
            )
            if batch.status in _ENDED:
                return
            await asyncio.sleep(min(_MAX_PAUSE_SECONDS, max(_MIN_PAUSE_SECONDS, (time.monotonic() - started) / 20)))
            batch = await _look(http, batch.id)

    async def _start(self, http: httpx.AsyncClient, path: Path) -> BatchObject:
        with path.open("rb") as file:
            answer = await http.post("/v1/files", data={"purpose": "batch"}, files={"file": (path.name, file)})
        body = {
            "input_file_id": require_success(answer).json()["id"],
            "endpoint": await asyncio.to_thread(find_endpoint, path),
        }
        answer = require_success(await http.post("/v1/batches", json=body))
        return BatchObject.model_validate_json(answer.content)

    async def _fetch_results(self, http: httpx.AsyncClient, batch_id: str, path: Path) -> list[str]:
        """Paths of the files to download. Raises RefusalError if there is no room for them."""
        batch = await _look(http, batch_id)
        found = [
            (file_id, name, (await _get(http, f"/v1/files/{file_id}")).json()["bytes"])
            for file_id, name in ((batch.output_file_id, "results.jsonl"), (batch.error_file_id, "errors.jsonl"))
            if file_id is not None
        ]
        has_preferences = batch.output_file_id is not None and batch.endpoint == "/v1/judge"
        input_bytes = (await asyncio.to_thread(path.stat)).st_size if has_preferences else 0  # its pictures go along
        most_bytes = sum(num_bytes for _, _, num_bytes in found) + input_bytes
        async with self._uploads.reserve(most_bytes):
            folder = self._make_folder()
            for file_id, name, _ in found:
                await _download(http, file_id, folder / name)
            if has_preferences:
                await asyncio.to_thread(write_preferences, path, folder / "results.jsonl", folder / "preferences.jsonl")
        names = (*(name for _, name, _ in found), *(["preferences.jsonl"] if has_preferences else ()))
        return [str(folder / name) for name in names]


def _render_state(batch: BatchObject, rate_per_second: float) -> str:
    counts = batch.request_counts
    done = counts.completed + counts.failed
    if batch.errors is not None:
        problems = [(f"line {each.line}" if each.line else "the file", each.message) for each in batch.errors.data]
        return render_note("The batch was refused.", "Nothing was judged.", kind="error") + render_problems(problems)
    return render_progress(
        done, counts.total, failed=counts.failed, rate_per_second=rate_per_second, state=f"{batch.status}:"
    )


async def _look(http: httpx.AsyncClient, batch_id: str) -> BatchObject:
    return BatchObject.model_validate_json((await _get(http, f"/v1/batches/{batch_id}")).content)


async def _get(http: httpx.AsyncClient, path: str) -> httpx.Response:
    """The answer, asked for again where the service says later: the batch goes on meanwhile. Raises ServiceError."""

    async def ask() -> httpx.Response:
        return require_success(await http.get(path))

    return await _ask_patiently(ask)


async def _ask_patiently(ask: Callable[[], Awaitable[T]]) -> T:
    num_tries = 0
    while True:
        num_tries += 1
        try:
            return await ask()
        except ServiceError as error:
            seconds = find_pause_seconds(error, num_tries)
            if seconds is None:
                raise
            await asyncio.sleep(seconds)


async def _read_failures(http: httpx.AsyncClient, batch: BatchObject) -> list[tuple[str, str]]:
    """The first rows that failed."""
    if batch.error_file_id is None:
        return []
    content = b""
    async with http.stream("GET", f"/v1/files/{batch.error_file_id}/content") as answer:
        if answer.is_error:
            return []  # asked for again with the next look
        async for chunk in answer.aiter_bytes():
            content += chunk
            if len(content) > _MAX_FAILURE_BYTES:
                break
    return read_failures(content.decode("utf-8", "replace").split("\n"))[:_MAX_FAILURES_SHOWN]


async def _download(http: httpx.AsyncClient, file_id: str, target: Path) -> None:
    await _ask_patiently(lambda: _download_once(http, file_id, target))


async def _download_once(http: httpx.AsyncClient, file_id: str, target: Path) -> None:
    async with http.stream("GET", f"/v1/files/{file_id}/content") as answer:
        if answer.is_error:
            await answer.aread()
        require_success(answer)
        with target.open("wb") as file:
            async for chunk in answer.aiter_bytes():
                file.write(chunk)
