"""The tab *Audit*: judges rows and shows what the judge prefers beside being right."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import gradio as gr
import httpx

from service.exchange import ServiceError, read_verdict, translate_failures
from service.playground.audit import Audit, AuditRow, read_audit_rows, summarise
from service.playground.calls import URL, Api, find_pause_seconds
from service.playground.cards import render_error, render_note, render_problems, render_progress, show_text
from service.samples import Sample, write_body
from service.settings import Settings

MAX_ROWS = 500
_AT_ONCE = 4
_MAX_FAILURES_SHOWN = 20
_EMPTY = (
    "The audit appears here.",
    (
        "It judges rows and asks: does the judge prefer a position, the longer response, or a “yes”? And are its "
        "probabilities right? The twelve shipped samples give a first impression, and wide intervals."
    ),
)
_Shown = tuple[str, str, str]
"""HTML of the progress, of the findings, and of the rows that failed."""


class AuditTab:
    """Builds the tab and answers its button. api: how the service is asked. settings: the service's."""

    def __init__(self, api: Api, settings: Settings, samples: tuple[Sample, ...]) -> None:
        self._api = api
        self._settings = settings
        self._samples = samples

    def build(self) -> None:
        """Lay the tab out, inside a Gradio block."""
        with gr.Row(elem_classes="vg-columns"):
            with gr.Column(scale=2, min_width=320):
                file = gr.File(
                    label="JSONL file of comparisons; without one, the shipped samples",
                    file_count="single",
                    type="filepath",
                    elem_id="audit-file",
                )
                gr.HTML(
                    '<p class="vg-dim">One comparison a line: <code>image</code> (<code>{"url": "data:…"}</code>), '
                    "<code>question</code>, <code>response_a</code>, <code>response_b</code> and, if you know it, "
                    '<code>"better": "A"</code> or <code>"B"</code>. Lines of a batch will do.</p>'
                )
                max_rows = gr.Slider(10, MAX_ROWS, value=100, step=10, label="Rows at most", elem_id="audit-rows")
                with gr.Row():
                    stop = gr.Button("Stop", elem_id="audit-stop")
                    run = gr.Button("Run the audit", variant="primary", elem_id="audit-run")
            with gr.Column(scale=3, min_width=320):
                progress = gr.HTML(render_note(*_EMPTY), elem_id="audit-progress")
                findings = gr.HTML("", elem_id="audit-findings")
                problems = gr.HTML("", elem_id="audit-problems")
        running = run.click(
            self.run,
            [file, max_rows],
            [progress, findings, problems],
            api_visibility="private",
            concurrency_limit=None,
            show_progress="hidden",
        )
        stop.click(None, None, None, cancels=[running], api_visibility="private")

    async def run(self, path: str | None, max_rows: float, request: gr.Request) -> AsyncIterator[_Shown]:
        """What is shown while rows are judged, and what was found."""
        try:
            rows = await asyncio.to_thread(self._read_rows, path, min(MAX_ROWS, int(max_rows)))
        except ServiceError as error:
            yield render_error(error), "", ""
            return
        audit, failures = Audit(), list[tuple[str, str]]()
        started = time.monotonic()
        yield render_progress(0, len(rows), state="Judging …"), "", ""
        async with self._api.open_plain(request) as http:
            waiting = iter(rows)
            running: set[asyncio.Task[None]] = set()
            try:
                while True:
                    while len(running) < _AT_ONCE and (row := next(waiting, None)) is not None:
                        running.add(asyncio.ensure_future(_judge(http, row, audit, failures)))
                    if not running:
                        break
                    _, running = await asyncio.wait(running, timeout=1, return_when=asyncio.FIRST_COMPLETED)
                    done = len(audit.verdicts) + len(failures)
                    yield (
                        render_progress(
                            done,
                            len(rows),
                            failed=len(failures),
                            state="Judging …",
                            rate_per_second=done / (time.monotonic() - started),
                        ),
                        "",
                        _show_failures(failures),
                    )
            finally:
                for task in running:
                    task.cancel()
        if not audit.verdicts:
            yield render_note("No row could be judged.", "See below why.", kind="error"), "", _show_failures(failures)
            return
        from service.playground.audit_plots import render_plots  # matplotlib

        plots = await asyncio.to_thread(render_plots, audit)
        yield (
            render_progress(len(rows), len(rows), failed=len(failures), state="Done:"),
            _render_findings(audit) + plots,
            _show_failures(failures),
        )

    def _read_rows(self, path: str | None, max_rows: int) -> list[AuditRow]:
        if path:
            return read_audit_rows(Path(path), self._settings, max_rows=max_rows)
        return [AuditRow(name=each.id, body=write_body(each), better=each.better) for each in self._samples[:max_rows]]


async def _judge(http: httpx.AsyncClient, row: AuditRow, audit: Audit, failures: list[tuple[str, str]]) -> None:
    """Judge a row, again while the service is busy, and note the verdict or why there is none."""
    num_tries = 0
    while True:
        num_tries += 1
        try:
            with translate_failures(URL):
                audit.verdicts.append((row, read_verdict(await http.post("/v1/judge", json=row.body))))
            return
        except ValueError as error:  # a number or a character that JSON or UTF-8 cannot carry
            failures.append((row.name, f"The row cannot be sent: {error}. Correct it in the file."))
            return
        except ServiceError as error:
            if error.code == "too_many_requests_at_once":
                num_tries = 1  # rows of this audit are in each other's way: until it is stopped
            seconds = find_pause_seconds(error, num_tries)
            if seconds is None:
                failures.append((row.name, error.message))
                return
        await asyncio.sleep(seconds)


def _render_findings(audit: Audit) -> str:
    rows = "".join(
        f'<tr><th scope="row">{show_text(name)}</th><td>{show_text(what)}</td></tr>' for name, what in summarise(audit)
    )
    return f'<table class="vg-table"><tbody>{rows}</tbody></table>'


def _show_failures(failures: list[tuple[str, str]]) -> str:
    return render_problems(failures[:_MAX_FAILURES_SHOWN], num_more=max(0, len(failures) - _MAX_FAILURES_SHOWN))
