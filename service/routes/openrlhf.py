"""`POST /v1/rewards/openrlhf`: completions of a policy in, a reward for each out, in OpenRLHF's shape."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from genrm.evidence import ExpertUse
from genrm.ranking import StrategyChoice
from genrm.types import Mode
from service.access import (
    ADMITTED,
    AdmittedPlace,
    AppAdmission,
    AppFetcher,
    AppLifecycle,
    AppMetrics,
    AppPixelBudget,
    AppSettings,
    RequestDeadline,
)
from service.connection import run_while_connected
from service.incoming import read_reward_request
from service.intake import decode_pictures
from service.judging import require_experts
from service.openapi import REWARD_BODY, REWARD_RESPONSES
from service.openrlhf_ranking import Group, count_most_judgements_at_once, group_rows, reward_groups
from service.openrlhf_rows import read_rows
from service.request_record import get_record
from service.rerank_schemas import RerankRequest, RerankResponse
from service.reranking import run_ranking

router = APIRouter(tags=["rewards"])


@router.post(
    "/v1/rewards/openrlhf",
    summary="Reward completions (OpenRLHF)",
    response_class=Response,
    responses=REWARD_RESPONSES,
    openapi_extra={"requestBody": REWARD_BODY},
    dependencies=[ADMITTED],
)
async def reward_openrlhf(
    request: Request,
    lifecycle: AppLifecycle,
    settings: AppSettings,
    metrics: AppMetrics,
    admission: AppAdmission,
    place: AdmittedPlace,
    fetcher: AppFetcher,
    budget: AppPixelBudget,
    deadline: RequestDeadline,
    strategy: Annotated[StrategyChoice, Query(description="Which pairs are judged, as in a ranking.")] = "auto",
    mode: Annotated[Mode, Query(description="As in a judgement.")] = "critique",
    experts: Annotated[ExpertUse | None, Query(description="As in a judgement.")] = None,
    extra_logs: Annotated[  # noqa: FBT002 - a query's parameters have names
        bool, Query(description="false: without `extra_logs`, which OpenRLHF-M cannot read.")
    ] = True,
) -> Response:
    """Say how good each completion is among those of its prompt, for OpenRLHF's `--reward.remote_url`.

    Rows with the same question and images are ranked (Best-of-N), with the label's `reference` as one more answer if it
    has one; a reward is the probability of being better than another one of them. The images are in the labels or
    prompts. Abstentions count as draws.
    """
    judge = lifecycle.require_judge()
    record = get_record(request)
    async with deadline.enforce():
        fields = await read_reward_request(request, settings)
    require_experts(experts, judge)
    rows = await asyncio.to_thread(read_rows, fields, judge, settings)
    groups = group_rows(rows, max_candidates=settings.max_candidates)

    async def rank(group: Group) -> RerankResponse:
        with budget.open() as pixels:  # a group's pictures are gone before the next group's are read
            with record.measure("media") as media:
                images = await decode_pictures(
                    group.rows[0].pictures, limits=settings.image_limits, fetcher=fetcher, share=pixels
                )
            return await run_ranking(
                judge,
                RerankRequest.model_validate(
                    {
                        "query": group.rows[0].question,
                        "documents": tuple(group.candidates),
                        "strategy": strategy,
                        "mode": mode,
                        "experts": experts,
                    }
                ),
                images,
                media_seconds=media.seconds,
                record=record,
                settings=settings,
                metrics=metrics,
                on_judged=admission.complete,
            )

    most_at_once = count_most_judgements_at_once(groups, strategy=strategy)
    with admission.admit_more(place, max(0, most_at_once - 1)):
        async with deadline.enforce():
            rewards = await run_while_connected(
                request.receive, reward_groups(groups, len(rows), rank, with_logs=extra_logs)
            )
    record.facts |= {"mode": mode, "rows": len(rows), "prompts": len(groups)}
    return Response(rewards.model_dump_json(exclude_none=True), media_type="application/json")
