"""`POST /v1/verify`: one text about an image in, its claims and what vision experts found out; or the picture of it."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.access import ADMITTED, AppFetcher, AppLifecycle, AppSettings, RequestDeadline, RequestPixels
from service.connection import run_while_connected
from service.incoming import read_verify_request
from service.intake import decode_pictures
from service.openapi import VERIFY_BODY, VERIFY_RESPONSES
from service.request_record import get_record
from service.verifying import draw_evidence, run_verification

router = APIRouter(tags=["verify"])


@router.post(
    "/v1/verify",
    summary="Verify a text",
    response_class=Response,
    responses=VERIFY_RESPONSES,
    openapi_extra={"requestBody": VERIFY_BODY},
    dependencies=[ADMITTED],
)
async def verify(
    request: Request,
    lifecycle: AppLifecycle,
    settings: AppSettings,
    fetcher: AppFetcher,
    pixels: RequestPixels,
    deadline: RequestDeadline,
    annotated: Annotated[
        Literal["png"] | None, Query(description="`png`: answer with the first picture, boxes and claims drawn on it.")
    ] = None,
) -> Response:
    """Say which objects a text claims or denies, and what vision experts found of each; where a checker of statements
    is loaded, how likely its sentences are as well.

    Send JSON with the image as a data URL, or a multipart form with the image as a file. An object that no expert knows
    is `unchecked`, never absent.
    """
    panel = lifecycle.require_panel()
    record = get_record(request)
    async with deadline.enforce():
        incoming = await read_verify_request(request, settings)
        with record.measure("media") as media:
            images = await run_while_connected(
                request.receive,
                decode_pictures(incoming.pictures, limits=settings.image_limits, fetcher=fetcher, share=pixels),
            )
        with record.measure("experts"):
            found = await run_while_connected(request.receive, run_verification(panel, images, incoming.fields))
    media_ms = 1000 * media.seconds
    record.facts |= {
        "images": len(images),
        "claims": len(found.evidence),
        "media_ms": round(media_ms, 1),
        "experts_ms": round(found.timings_ms.experts, 1),
    }
    if annotated == "png":
        return Response(await run_in_threadpool(draw_evidence, images[0], found.evidence), media_type="image/png")
    total_ms = 1000 * (time.perf_counter() - record.started)
    timings = found.timings_ms.model_copy(update={"media": media_ms, "total": total_ms})
    answer = found.model_copy(update={"timings_ms": timings})
    return Response(answer.model_dump_json(), media_type="application/json")
