"""`POST /v1/rerank`, also as `/rerank` and `/v2/rerank`: candidates for one question in, a ranking out."""

import time

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.access import AppLifecycle, AppMetrics, AppSettings
from service.connection import run_while_connected
from service.incoming import read_rerank_request
from service.intake import decode_pictures
from service.judging import require_experts, require_model
from service.openapi import RERANK_BODY, RERANK_RESPONSES
from service.request_record import get_record
from service.reranking import collect_pictures, run_ranking

router = APIRouter(tags=["rerank"])


@router.post(
    "/v1/rerank",
    summary="Rank candidates",
    response_class=Response,
    responses=RERANK_RESPONSES,
    openapi_extra={"requestBody": RERANK_BODY},
)
@router.post("/rerank", include_in_schema=False)
@router.post("/v2/rerank", include_in_schema=False)
async def rerank(request: Request, lifecycle: AppLifecycle, settings: AppSettings, metrics: AppMetrics) -> Response:
    """Say which of several answers to a question about images is best (Best-of-N).

    Pairs of candidates are judged in both orders, and Bradley-Terry strengths fitted to the probabilities give the
    order. The shape is that of Jina, Cohere and vLLM; images are in the query. `usage.cached_tokens` shows what the
    judgements had in common and was computed once.
    """
    judge = lifecycle.require_judge()
    fields = await read_rerank_request(request, settings)
    require_model(fields.model, lifecycle.model_names)
    require_experts(fields.experts, judge)
    pictures = collect_pictures(fields)
    started = time.perf_counter()
    images = await decode_pictures(pictures, limits=settings.image_limits)
    media_seconds = time.perf_counter() - started
    record = get_record(request)
    ranking = await run_while_connected(
        request.receive,
        run_ranking(
            judge,
            fields,
            images,
            model=lifecycle.model_names[0],
            media_seconds=media_seconds,
            started=record.started,
            settings=settings,
            metrics=metrics,
        ),
    )
    record.facts |= {
        "mode": fields.mode,
        "images": len(images),
        "candidates": len(fields.documents),
        "strategy": ranking.strategy,
        "judgements": ranking.judgements,
        "completion_tokens": ranking.usage.completion_tokens,
        "media_ms": round(ranking.timings_ms.media, 1),
        "experts_ms": round(ranking.timings_ms.experts, 1),
    }
    return Response(ranking.model_dump_json(), media_type="application/json")
