"""Answers one line of a batch as the route of its endpoint would.

It takes no place among the requests that wait: `service.batches.turns` says when a line may start.
"""

import asyncio
import time

from genrm.best_of_n import check_candidates
from service.batches.schemas import Endpoint
from service.deadline import Deadline
from service.errors import RefusalError, describe_failure
from service.incoming import read_judge_json, read_rerank_json
from service.intake import decode_pictures
from service.judging import Judging, require_experts
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.remote_image import ImageFetcher
from service.request_record import RequestRecord
from service.reranking import collect_pictures, run_ranking
from service.settings import Settings

_RETRY_SECONDS = (1.0, 5.0)
"""Waits before a request is tried again that failed through no fault of its own."""


class LineRunner:
    """Has everything that a route would be handed."""

    def __init__(self, lifecycle: Lifecycle, settings: Settings, metrics: Metrics, fetcher: ImageFetcher) -> None:
        self._lifecycle = lifecycle
        self._settings = settings
        self._metrics = metrics
        self._fetcher = fetcher

    async def answer(self, endpoint: Endpoint, body: bytes, request_id: str) -> str:
        """The answer, JSON. request_id: what logs call it.

        It waits until the service is ready, and tries a failure of the engine again twice. Raises what the route would
        answer with an error; among it RefusalError `shutting_down` and `not_ready`, when nothing was judged because the
        service stops or will never be ready.
        """
        while self._lifecycle.phase == "loading":  # noqa: ASYNC110 - a batch has time
            await asyncio.sleep(0.1)
        for seconds in _RETRY_SECONDS:
            try:
                return await self._answer_once(endpoint, body, request_id)
            except Exception as error:
                if describe_failure(error).code != "engine_failed":
                    raise
            await asyncio.sleep(seconds)
        return await self._answer_once(endpoint, body, request_id)

    async def _answer_once(self, endpoint: Endpoint, body: bytes, request_id: str) -> str:
        record = RequestRecord(request_id=request_id, started=time.perf_counter())
        deadline = Deadline(started=record.started, timeout_seconds=self._settings.request_timeout_seconds)
        async with deadline.enforce():
            return await (self._judge(body, record) if endpoint == "/v1/judge" else self._rank(body, record))

    async def _judge(self, body: bytes, record: RequestRecord) -> str:
        incoming = await asyncio.to_thread(read_judge_json, body, self._settings)
        fields = incoming.fields
        if fields.stream:
            raise RefusalError(
                "invalid_value",
                "Field 'stream' is true; a batch has nobody to stream to. Leave it out.",
                param="stream",
            )
        judge = await self._lifecycle.choose_judge(fields.model)
        require_experts(fields.experts, judge)
        judge.check_texts(fields.question, fields.response_a, fields.response_b)
        with record.measure("media") as media:
            images = await decode_pictures(incoming.pictures, limits=self._settings.image_limits, fetcher=self._fetcher)
        judging = Judging(
            judge=judge,
            fields=fields,
            images=images,
            media_seconds=media.seconds,
            settings=self._settings,
            metrics=self._metrics,
            record=record,
        )
        return (await judging.run()).model_dump_json()

    async def _rank(self, body: bytes, record: RequestRecord) -> str:
        fields = await asyncio.to_thread(read_rerank_json, body, self._settings)
        judge = await self._lifecycle.choose_judge(fields.model)
        require_experts(fields.experts, judge)
        pictures = collect_pictures(fields)
        check_candidates(judge, fields.query.text, [document.text for document in fields.documents])
        with record.measure("media") as media:
            images = await decode_pictures(pictures, limits=self._settings.image_limits, fetcher=self._fetcher)
        ranking = await run_ranking(
            judge,
            fields,
            images,
            media_seconds=media.seconds,
            record=record,
            settings=self._settings,
            metrics=self._metrics,
        )
        return ranking.model_dump_json()
