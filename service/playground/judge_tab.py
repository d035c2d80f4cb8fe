"""The tab *Judge*: one comparison, its critique as it is written, the verdict, and the evidence on the image."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import gradio as gr
from PIL import Image

from genrm.errors import GenRMError
from genrm.media import decode_image
from genrm.types import Response
from service.exchange import ServiceError
from service.playground.calls import Api, find_pause_seconds
from service.playground.cards import (
    render_claims,
    render_critiques,
    render_error,
    render_legend,
    render_note,
    render_pause,
    render_verdict,
)
from service.playground.inputs import build_picture_input, read_picture_file
from service.playground.picture import render_picture
from service.playground.snippets import Call, find_service_url, write_curl, write_python
from service.samples import Sample
from service.schemas import CritiqueDelta, JudgeResponse
from service.settings import Settings

_SHOW_EVERY_SECONDS = 0.06
_EMPTY = (
    "The verdict appears here.",
    (
        "Press “Judge”: the judge looks at the image, reads both responses in both orders, writes down why, and says "
        "which is better and how sure it is. Or change anything first."
    ),
)
_Shown = tuple[str, str, str]
"""HTML of the verdict, of the critiques, and of the evidence."""


class JudgeTab:
    """Builds the tab and answers its button. api: how the service is asked."""

    def __init__(self, api: Api, settings: Settings, samples: tuple[Sample, ...], *, needs_key: bool) -> None:
        self._api = api
        self._settings = settings
        self._samples = samples
        self._needs_key = needs_key

    def build(self) -> None:
        """Lay the tab out, inside a Gradio block."""
        first = self._samples[0]
        with gr.Row(elem_classes="vg-columns"):
            with gr.Column(scale=2, min_width=320):
                chosen = build_picture_input(self._samples, label="Image", name="judge")
                question = gr.Textbox(
                    first.question, label="Question about the image", lines=2, elem_id="judge-question"
                )
                a = gr.Textbox(first.response_a, label="Response A", lines=2, elem_id="judge-a")
                b = gr.Textbox(first.response_b, label="Response B", lines=2, elem_id="judge-b")
                button = gr.Button("Judge", variant="primary", elem_id="judge-run")
            with gr.Column(scale=3, min_width=320):
                verdict = gr.HTML(render_note(*_EMPTY), elem_id="judge-verdict")
                critiques = gr.HTML("", elem_id="judge-critiques")
                evidence = gr.HTML("", elem_id="judge-evidence")
                with gr.Accordion("The same from your own code", open=False):
                    curl = gr.Textbox(
                        label="Shell",
                        lines=5,
                        interactive=False,
                        buttons=["copy"],
                        elem_classes="vg-code",
                        elem_id="judge-curl",
                    )
                    python = gr.Textbox(
                        label="Python",
                        lines=8,
                        interactive=False,
                        buttons=["copy"],
                        elem_classes="vg-code",
                        elem_id="judge-python",
                    )
        inputs: list[gr.components.Component] = [chosen.picture, question, a, b]
        chosen.samples.click(
            self._take_sample, [chosen.samples], inputs, api_visibility="private", show_progress="hidden"
        )
        button.click(
            self.judge,
            inputs,
            [verdict, critiques, evidence],
            api_visibility="private",
            concurrency_limit=None,
            show_progress="hidden",
        )
        button.click(self.write_snippets, inputs, [curl, python], api_visibility="private", show_progress="hidden")

    def _take_sample(self, index: int) -> tuple[str, str, str, str]:
        sample = self._samples[index]
        return str(sample.image), sample.question, sample.response_a, sample.response_b

    def write_snippets(self, path: str | None, question: str, a: str, b: str, request: gr.Request) -> tuple[str, str]:
        """The judgement for a shell and for Python, with the address at which the visitor sees the service."""
        assert request.request is not None
        call = Call(
            url=find_service_url(str(request.request.base_url)),
            image=Path(path).name if path else "image.png",
            question=question,
            response_a=a,
            response_b=b,
            needs_key=self._needs_key,
        )
        return write_curl(call), write_python(call)

    async def judge(
        self, path: str | None, question: str, a: str, b: str, request: gr.Request
    ) -> AsyncIterator[_Shown]:
        """What is shown while a judgement runs and when it has ended; asks again while the service is busy."""
        if missing := _find_missing(path, question, a, b):
            yield render_note("Something is missing:", missing, kind="error"), "", ""
            return
        try:
            picture = await asyncio.to_thread(read_picture_file, path)
        except ServiceError as error:
            yield render_error(error), "", ""
            return
        assert picture is not None
        num_tries = 0
        while True:
            num_tries += 1
            try:
                async for shown in self._judge_once(picture, question, a, b, request):
                    yield shown
                return
            except ServiceError as error:
                seconds = find_pause_seconds(error, num_tries)
                if seconds is None:
                    yield render_error(error), "", ""
                    return
                yield render_pause(error, seconds, num_tries), "", ""
            await asyncio.sleep(seconds)

    async def _judge_once(
        self, picture: bytes, question: str, a: str, b: str, request: gr.Request
    ) -> AsyncIterator[_Shown]:
        texts: dict[Response, str] = {"A": "", "B": ""}
        waiting = render_note("The judge is looking …", "Both orders are read at once.", kind="busy")
        yield waiting, render_critiques(texts, is_writing=True), ""
        last_shown = 0.0
        async with self._api.open(request) as client:
            async for event in client.stream(picture, question=question, a=a, b=b):
                if isinstance(event, CritiqueDelta):
                    texts[event.first] += event.delta
                    if time.monotonic() - last_shown >= _SHOW_EVERY_SECONDS:
                        last_shown = time.monotonic()
                        yield waiting, render_critiques(texts, is_writing=True), ""
                    continue
                for reading in event.readings:
                    texts[reading.first] = reading.critique
                evidence = await asyncio.to_thread(self._show_evidence, picture, event, a, b)
                yield render_verdict(event), render_critiques(texts, is_writing=False), evidence

    def _show_evidence(self, picture: bytes, verdict: JudgeResponse, a: str, b: str) -> str:
        try:
            image = decode_image(picture, limits=self._settings.image_limits)
        except GenRMError:  # the service took it, so this is only the drawing
            image = Image.new("RGB", (64, 64), "grey")
        sides = render_claims("Response A", a, verdict.evidence.A) + render_claims("Response B", b, verdict.evidence.B)
        return (
            '<section class="vg-evidence"><h3>Evidence</h3>'
            f'{render_picture(image, verdict.evidence)}<div class="vg-sides">{sides}</div>{render_legend()}</section>'
        )


def _find_missing(path: str | None, question: str, a: str, b: str) -> str:
    """What has to be entered before there is anything to judge; empty if all is there."""
    given = {"an image": path, "a question": question.strip(), "response A": a.strip(), "response B": b.strip()}
    missing = [name for name, value in given.items() if not value]
    return f"{', '.join(missing)}. Enter it on this page, or choose a sample." if missing else ""
