"""`POST /v1/rerank`, also as `/rerank` and `/v2/rerank`: candidates for one question in, a ranking out."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from genrm.best_of_n import check_candidates, count_most_at_once
from service.access import (
    ADMITTED,
    AdmittedPlace,
    AppAdmission,
    AppFetcher,
    AppLifecycle,
    AppMetrics,
    AppSettings,
    RequestDeadline,
    RequestPixels,
)
from service.connection import run_while_connected
from service.incoming import read_rerank_request
from service.intake import decode_pictures
from service.judging import require_experts
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
    dependencies=[ADMITTED],
)
@router.post("/rerank", include_in_schema=False, dependencies=[ADMITTED])
@router.post("/v2/rerank", include_in_schema=False, dependencies=[ADMITTED])
async def rerank(
    request: Request,
    lifecycle: AppLifecycle,
    settings: AppSettings,
    metrics: AppMetrics,
    fetcher: AppFetcher,
    pixels: RequestPixels,
    admission: AppAdmission,
    place: AdmittedPlace,
    deadline: RequestDeadline,
) -> Response:
    """Say which of several answers to a question about images is best (Best-of-N).

    Pairs of candidates are judged in both orders, and Bradley-Terry strengths fitted to the probabilities give the
    order. The shape is that of Jina, Cohere and vLLM; images are in the query. `usage.cached_tokens` shows what the
    judgements had in common and was computed once.
    """
    lifecycle.require_judge()
    async with deadline.enforce():
        fields = await read_rerank_request(request, settings)
    judge = await lifecycle.choose_judge(fields.model)
    require_experts(fields.experts, judge)
    pictures = collect_pictures(fields)
    record = get_record(request)
    texts = [document.text for document in fields.documents]
    check_candidates(judge, fields.query.text, texts)
    most_at_once = count_most_at_once(texts, strategy=fields.strategy, budget=fields.budget)
    with admission.admit_more(place, max(0, most_at_once - 1)):
        with record.measure("media") as media:
            async with deadline.enforce():
                images = await run_while_connected(
                    request.receive,
                    decode_pictures(pictures, limits=settings.image_limits, fetcher=fetcher, share=pixels),
                )
        async with deadline.enforce():
            ranking = await run_while_connected(
                request.receive,
                run_ranking(
                    judge,
                    fields,
                    images,
                    media_seconds=media.seconds,
                    record=record,
                    settings=settings,
                    metrics=metrics,
                    on_judged=admission.complete,
                ),
            )
    record.facts |= {
        "model": judge.name,
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
