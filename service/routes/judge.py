"""`POST /v1/judge`: one comparison in, one verdict out; at once or as a stream."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.access import ADMITTED, AppFetcher, AppLifecycle, AppMetrics, AppSettings, RequestDeadline, RequestPixels
from service.connection import run_while_connected
from service.incoming import read_judge_request
from service.intake import decode_pictures
from service.judging import Judging, require_experts
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
    pixels: RequestPixels,
    deadline: RequestDeadline,
) -> Response:
    """Say which of two responses to a question about an image is better, with a critique and a probability.

    Both orders of the responses are read, so exchanging A and B mirrors the answer. Send JSON with the image as a data
    URL, or a multipart form with the image as a file. With `"stream": true` the answer is `text/event-stream`: events
    `critique` while the critiques are written, then one event `verdict` (or `error`).
    """
    lifecycle.require_judge()
    async with deadline.enforce():
        incoming = await read_judge_request(request, settings)
    fields = incoming.fields
    ready_judge = await lifecycle.choose_judge(fields.model)
    require_experts(fields.experts, ready_judge)
    ready_judge.check_texts(fields.question, fields.response_a, fields.response_b)
    record = get_record(request)
    with record.measure("media") as media:
        async with deadline.enforce():
            images = await run_while_connected(
                request.receive,
                decode_pictures(incoming.pictures, limits=settings.image_limits, fetcher=fetcher, share=pixels),
            )
    judging = Judging(
        judge=ready_judge,
        fields=fields,
        images=images,
        media_seconds=media.seconds,
        settings=settings,
        metrics=metrics,
        record=record,
        deadline=deadline,
    )
    if fields.stream:
        return VerdictStream(judging)
    verdict = await run_while_connected(request.receive, judging.run())
    return Response(verdict.model_dump_json(), media_type="application/json")
