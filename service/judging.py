"""Runs one judgement for a route: options from the request, the judge, metrics, and the response's envelope."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from PIL.Image import Image

from genrm.evidence import ExpertUse
from genrm.judge import Judge, JudgeOptions
from genrm.prompts import PROMPT_VERSION
from genrm.types import Comparison, Response, Verdict
from service.deadline import NO_DEADLINE, Deadline
from service.errors import RefusalError
from service.metrics import Metrics
from service.request_record import RequestRecord
from service.schemas import JudgeFields, JudgeResponse
from service.settings import Settings
from service.stages import divide_judgement

OnCritique = Callable[[Response, str], None]
"""Called as `on_critique(first, new text)` while the first critique of each order is written, from any thread."""


@dataclass(frozen=True, kw_only=True)
class Judging:
    """A judgement that is ready to run: everything the request asked for has been checked and decoded.

    media_seconds: what decoding the images took. deadline: when the judgement is dropped.
    """

    judge: Judge
    fields: JudgeFields
    images: tuple[Image, ...]
    media_seconds: float
    settings: Settings
    metrics: Metrics
    record: RequestRecord
    deadline: Deadline = NO_DEADLINE

    async def run(self, on_critique: OnCritique | None = None) -> JudgeResponse:
        """Judge, count, and wrap. Raises what `Judge.judge` raises, and RefusalError when the deadline has passed."""
        fields = self.fields
        comparison = Comparison(
            images=self.images, question=fields.question, response_a=fields.response_a, response_b=fields.response_b
        )
        options = JudgeOptions(
            mode=fields.mode,
            samples=fields.samples,
            temperature=fields.temperature,
            seed=fields.seed,
            max_tokens=fields.max_tokens or self.settings.max_tokens,
            experts=fields.experts or self.settings.expert_use,
        )
        with self.record.measure("judgement") as stage, self.metrics.running.track_inprogress():
            async with self.deadline.enforce():
                verdict = await self.judge.judge(comparison, options, on_text=on_critique)
        stage.facts |= {"mode": fields.mode, "verdict": verdict.status}
        stage.parts = divide_judgement(
            stage.started,
            verdict.timings_ms,
            experts_first=options.experts == "prompt",
            num_readings=len(verdict.readings),
        )
        response = self._wrap(verdict)
        self.metrics.observe_verdict(response)
        self.record.facts |= {
            "model": self.judge.name,
            "mode": fields.mode,
            "images": len(self.images),
            "verdict": response.status,
            "preferred": response.preferred,
            "completion_tokens": response.usage.completion_tokens,
            "queue_ms": round(response.timings_ms.queue, 1),
            "media_ms": round(response.timings_ms.media, 1),
            "experts_ms": round(response.timings_ms.experts, 1),
            "engine_ms": round(response.timings_ms.engine, 1),
        }
        return response

    def _wrap(self, verdict: Verdict) -> JudgeResponse:
        total_seconds = time.perf_counter() - self.record.started
        timings = verdict.timings_ms.model_copy(
            update={"media": self.media_seconds * 1000, "total": total_seconds * 1000}
        )
        return JudgeResponse(
            **{name: getattr(verdict, name) for name in Verdict.model_fields if name != "timings_ms"},
            timings_ms=timings,
            id=self.fields.id or f"verdict-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=self.judge.name,
            prompt_version=PROMPT_VERSION,
        )


def require_experts(asked: ExpertUse | None, judge: Judge) -> None:
    """Raise RefusalError if the request wants experts and none are loaded: an option must not do nothing."""
    if asked not in (None, "off") and judge.verifier is None:
        raise RefusalError(
            "invalid_value",
            f"Field 'experts' is {asked!r}, and this service has no vision experts. Leave it out, or start the service "
            "with GENRM_EXPERTS.",
            param="experts",
        )
