"""`POST /v1/judge`: one comparison in, one verdict out; at once or as a stream."""

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.access import ADMITTED, AppFetcher, AppLifecycle, AppMetrics, AppSettings, RequestDeadline
from service.connection import run_while_connected
from service.incoming import read_judge_request
from service.intake import decode_pictures
from service.judging import Judging, require_experts, require_model
from service.openapi import JUDGE_BODY, JUDGE_RESPONSES
from service.request_record import get_record
from service.streaming import VerdictStream

router = APIRouter(tags=["judge"])


@router.post(
    "/v1/judge",
    summary="Judge two responses",
    response_class=Response,
    responses=JUDGE_RESPONSES,
    openapi_extra={"requestBody": JUDGE_BODY},
    dependencies=[ADMITTED],
)
async def judge(
    request: Request,
    lifecycle: AppLifecycle,
    settings: AppSettings,
    metrics: AppMetrics,
    fetcher: AppFetcher,
    deadline: RequestDeadline,
) -> Response:
    """Say which of two responses to a question about an image is better, with a critique and a probability.

    Both orders of the responses are read, so exchanging A and B mirrors the answer. Send JSON with the image as a data
    URL, or a multipart form with the image as a file. With `"stream": true` the answer is `text/event-stream`: events
    `critique` while the critiques are written, then one event `verdict` (or `error`).
    """
    ready_judge = lifecycle.require_judge()
    async with deadline.enforce():
        incoming = await read_judge_request(request, settings)
    fields = incoming.fields
    require_model(fields.model, lifecycle.model_names)
    require_experts(fields.experts, ready_judge)
    ready_judge.check_texts(fields.question, fields.response_a, fields.response_b)
    started = time.perf_counter()
    async with deadline.enforce():
        images = await run_while_connected(
            request.receive,
            decode_pictures(incoming.pictures, limits=settings.image_limits, fetcher=fetcher),
        )
    judging = Judging(
        judge=ready_judge,
        model=lifecycle.model_names[0],
        fields=fields,
        images=images,
        media_seconds=time.perf_counter() - started,
        settings=settings,
        metrics=metrics,
        record=get_record(request),
        deadline=deadline,
    )
    if fields.stream:
        return VerdictStream(judging)
    verdict = await run_while_connected(request.receive, judging.run())
    return Response(verdict.model_dump_json(), media_type="application/json")
