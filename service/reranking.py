"""Runs one ranking for the route: checks of the request, the tournament, metrics, and the response's envelope."""

import time
import uuid
from collections.abc import Callable, Sequence

from PIL.Image import Image

from genrm.best_of_n import BestOfN, rank_candidates
from genrm.judge import Judge, JudgeOptions
from genrm.prompts import PROMPT_VERSION
from service.errors import RefusalError
from service.intake import Picture
from service.metrics import Metrics
from service.request_record import RequestRecord
from service.rerank_schemas import (
    RerankDocument,
    RerankMatch,
    RerankRequest,
    RerankResponse,
    RerankResult,
    RerankUsage,
)
from service.settings import Settings
from service.stages import divide_ranking


def collect_pictures(fields: RerankRequest) -> tuple[Picture, ...]:
    """The pictures of a request, of the query or beside it. Raises RefusalError for both, and for any elsewhere."""
    for index, document in enumerate(fields.documents):
        if document.image_urls:
            raise RefusalError(
                "invalid_value",
                f"Candidate {index} has an image; candidates are texts about the query's images. Put all images into "
                "the query.",
                param=f"documents[{index}]",
            )
    in_query = [
        Picture(param=f"query.content[{index}].image_url.url", content=part.image_url.url)
        for index, part in enumerate(fields.query.content)
        if part.type == "image_url"
    ]
    beside = fields.images if fields.image is None else (fields.image,)
    if beside is None:
        return tuple(in_query)
    if in_query or (fields.image is not None and fields.images is not None):
        raise RefusalError(
            "invalid_value",
            "Images are given in more than one place; one of 'query', 'image' and 'images' is allowed. Drop the "
            "others.",
            param="image" if fields.image is not None else "images",
        )
    names = ["image.url"] if fields.image is not None else [f"images[{index}].url" for index in range(len(beside))]
    return tuple(Picture(param=name, content=image.url) for name, image in zip(names, beside, strict=True))


async def run_ranking(
    judge: Judge,
    fields: RerankRequest,
    images: Sequence[Image],
    *,
    media_seconds: float,
    record: RequestRecord,
    settings: Settings,
    metrics: Metrics,
    on_judged: Callable[[int], None] | None = None,
) -> RerankResponse:
    """Rank, count and wrap. media_seconds: what decoding the images took. on_judged: as of `rank_candidates`, and what
    that raises.
    """
    texts = [document.text for document in fields.documents]
    options = JudgeOptions(
        mode=fields.mode, max_tokens=settings.max_tokens, experts=fields.experts or settings.expert_use
    )
    with record.measure("ranking") as stage, metrics.running.track_inprogress():
        found = await rank_candidates(
            judge,
            tuple(images),
            fields.query.text,
            texts,
            strategy=fields.strategy,
            budget=fields.budget,
            options=options,
            on_judged=on_judged,
        )
    stage.facts |= {"mode": fields.mode, "strategy": found.strategy, "judgements": found.num_judgements}
    stage.parts = divide_ranking(stage.started, found.timings_ms, found.calls)
    metrics.media_duration.observe(media_seconds)
    for verdict in found.verdicts:
        metrics.observe_judgement(verdict)
    timings = found.timings_ms.model_copy(
        update={"media": 1000 * media_seconds, "total": 1000 * (time.perf_counter() - record.started)}
    )
    usage = found.usage
    return RerankResponse(
        id=fields.id or f"ranking-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=judge.name,
        prompt_version=PROMPT_VERSION,
        strategy=found.strategy,
        judgements=found.num_judgements,
        abstained=found.num_abstained,
        consistency=found.consistency,
        cycles=found.cycles,
        matches=tuple(
            RerankMatch(one=each.one, other=each.other, probability=each.probability) for each in found.matches
        ),
        results=_results(found, texts, fields),
        warnings=found.warnings,
        usage=RerankUsage(**usage.model_dump(), total_tokens=usage.prompt_tokens + usage.completion_tokens),
        timings_ms=timings,
    )


def _results(found: BestOfN, texts: Sequence[str], fields: RerankRequest) -> tuple[RerankResult, ...]:
    return tuple(
        RerankResult(
            index=each.index,
            relevance_score=each.win_probability,
            document=RerankDocument(text=texts[each.index]) if fields.return_documents else None,
            wins=each.wins,
            losses=each.losses,
            ties=each.ties,
            evidence=each.evidence,
        )
        for each in found.standings[: fields.top_n]
    )
