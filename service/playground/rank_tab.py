"""The tab *Best of N*: several candidates for one question, ranked."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import get_args

import gradio as gr

from genrm.ranking import STRATEGIES, StrategyChoice, count_judgements
from service.exchange import ServiceError
from service.playground.calls import Api, find_pause_seconds
from service.playground.cards import (
    render_costs,
    render_error,
    render_matrix,
    render_note,
    render_pause,
    render_ranking,
)
from service.playground.inputs import build_picture_input, read_picture_file
from service.rerank_schemas import RerankResponse
from service.samples import Sample

_CANDIDATES = "I count one bed.\nI count two beds.\nI count three beds.\nThere are no beds."
_EMPTY = (
    "The ranking appears here.",
    "Pairs of candidates are judged in both orders; the best comes first. Fewer judgements cost less and say less.",
)
_Shown = tuple[str, str]
"""HTML of the ranking, and of the matrix with the costs."""


class RankTab:
    """Builds the tab and answers its button. api: how the service is asked."""

    def __init__(self, api: Api, samples: tuple[Sample, ...]) -> None:
        self._api = api
        self._samples = samples

    def build(self) -> None:
        """Lay the tab out, inside a Gradio block."""
        with gr.Row(elem_classes="vg-columns"):
            with gr.Column(scale=2, min_width=320):
                chosen = build_picture_input(self._samples, label="Image", name="rank")
                question = gr.Textbox(
                    self._samples[0].question, label="Question about the image", lines=2, elem_id="rank-question"
                )
                candidates = gr.Textbox(
                    _CANDIDATES, label="Candidates, one per line, or a JSON list", lines=6, elem_id="rank-candidates"
                )
                strategy = gr.Radio(
                    list(get_args(StrategyChoice)), value="auto", label="Strategy", elem_id="rank-strategy"
                )
                button = gr.Button("Rank", variant="primary", elem_id="rank-run")
            with gr.Column(scale=3, min_width=320):
                ranking = gr.HTML(render_note(*_EMPTY), elem_id="rank-result")
                matrix = gr.HTML(_show_costs(read_candidates(_CANDIDATES), None), elem_id="rank-matrix")
        chosen.samples.click(
            self._take_sample,
            [chosen.samples],
            [chosen.picture, question, candidates],
            api_visibility="private",
            show_progress="hidden",
        )
        button.click(
            self.rank,
            [chosen.picture, question, candidates, strategy],
            [ranking, matrix],
            api_visibility="private",
            concurrency_limit=None,
            show_progress="hidden",
        )

    def _take_sample(self, index: int) -> tuple[str, str, str]:
        sample = self._samples[index]
        texts = _CANDIDATES if index == 0 else f"{sample.response_a}\n{sample.response_b}"
        return str(sample.image), sample.question, texts

    async def rank(
        self, path: str | None, question: str, text: str, strategy: StrategyChoice, request: gr.Request
    ) -> AsyncIterator[_Shown]:
        """What is shown while a ranking runs and when it has ended; asks again while the service is busy."""
        candidates = read_candidates(text)
        missing = [
            name
            for name, value in (("an image", path), ("a question", question.strip()), ("candidates", candidates))
            if not value
        ]
        if missing:
            yield (
                render_note("Something is missing:", f"{', '.join(missing)}. Enter it on this page.", kind="error"),
                "",
            )
            return
        try:
            picture = await asyncio.to_thread(read_picture_file, path)
        except ServiceError as error:
            yield render_error(error), ""
            return
        assert picture is not None
        num_tries = 0
        while True:
            num_tries += 1
            yield render_note("The judge is comparing …", f"{len(candidates)} candidates.", kind="busy"), ""
            try:
                async with self._api.open(request) as client:
                    found = await client.rerank(picture, question=question, candidates=candidates, strategy=strategy)
                yield render_ranking(found, candidates), _show_matrix(found, candidates)
                return
            except UnicodeEncodeError:  # half of a surrogate pair, from a JSON list
                note = "One has a character that UTF-8 does not know. Correct it."
                yield render_note("The candidates cannot be sent.", note, kind="error"), ""
                return
            except ServiceError as error:
                seconds = find_pause_seconds(error, num_tries)
                if seconds is None:
                    yield render_error(error), ""
                    return
                yield render_pause(error, seconds, num_tries), ""
            await asyncio.sleep(seconds)


def read_candidates(text: str) -> list[str]:
    """The candidates in a text: those of a JSON list of texts, or else one per line that is not blank."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return list(given)
    return [line.strip() for line in text.splitlines() if line.strip()]


def count_costs(num_candidates: int) -> dict[str, int]:
    """Most judgements by strategy. num_candidates: at least 1."""
    return {name: count_judgements(num_candidates, strategy=name) for name in STRATEGIES}


def _show_costs(candidates: list[str], chosen: str | None) -> str:
    return render_costs(count_costs(len(set(candidates))), chosen)


def _show_matrix(found: RerankResponse, candidates: list[str]) -> str:
    return render_matrix(found, candidates) + _show_costs(candidates, found.strategy)
