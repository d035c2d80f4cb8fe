"""How a policy's answers stand beside the references, as a judge sees it.

For every question the judge compares the answer (A) with the reference (B), in both orders. The probability of A is the
score: one half is an answer that is as good. An answer that says the same by `training.policy.answers` is not shown to
the judge, which must prefer one and would do so by style. The score helps where many answers are right, and is as good
as the judge is. How good that is shows where the truth is known: of answers that exact match finds wrong, how many the
judge finds worse than the reference.
"""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from genrm.judge import JudgeOptions
from genrm.types import Verdict
from training.evaluation.judges import JudgeChoice, open_judge
from training.evaluation.judging import open_judging
from training.jobs.config import Section
from training.policy.answers import says_the_same
from training.policy.questions import Question
from training.ratios import Ratio
from training.sources import Pair, Skipped

FOLDER = "judge"
_EVEN = 0.5


class ReferenceJudge(Section):
    """Who compares answers with references; the shipped judge if nothing is named."""

    model: str | None = Field(None, description="Folder or hub id; behind engine_url its name there.")
    adapter: str | None = Field(None, description="PEFT adapter of the model.")
    url: str | None = Field(None, description="A running service of ours.")
    engine_url: str | None = Field(None, description="OpenAI-compatible server that runs the model.")
    mode: Literal["critique", "fast"] = "critique"
    concurrency: int = Field(32, ge=1, description="Pairs judged at once.")


def judge_answers(
    answered: Sequence[tuple[Question, str]], judge: ReferenceJudge, folder: Path
) -> tuple[list[tuple[Question, float]], list[Skipped]]:
    """The probability that each answer is the better one, in [0, 1], without questions on which the judge abstains.

    answered: questions that have references, and their answers. Verdicts are kept in `folder`/judge, and none is made
    twice. Raises OtherJudgeError, ModelLoadError, EngineError.
    """
    differs = [not says_the_same(text, question.reference or "", question.text) for question, text in answered]
    cases = [case for case, is_open in zip(answered, differs, strict=True) if is_open]
    verdicts, skipped = asyncio.run(_judge(cases, judge, folder)) if cases else ([], [])
    found = iter(verdicts)
    scores: list[tuple[Question, float]] = []
    for (question, _), is_open in zip(answered, differs, strict=True):
        verdict = next(found) if is_open else None
        if not is_open:
            scores.append((question, _EVEN))
        elif verdict is not None and verdict.probabilities is not None:
            scores.append((question, verdict.probabilities.A))
    return scores, skipped


def measure_judged(scores: Sequence[tuple[Question, float]], wrong: Collection[str]) -> dict[str, dict[str, Ratio]]:
    """By group and overall: the mean probability, how often the answer is at least as good as the reference, and how
    often the judge sees an error. wrong: ids of questions that were answered wrongly for certain.
    """
    figures: dict[str, dict[str, Ratio]] = {"probability": {}, "at least as good": {}, "errors seen by the judge": {}}
    for question, score in scores:
        for group in ("overall", question.group):
            if group:
                figures["probability"].setdefault(group, Ratio()).add(question.image, score)
                figures["at least as good"].setdefault(group, Ratio()).add(question.image, score >= _EVEN)
                if question.id in wrong:
                    figures["errors seen by the judge"].setdefault(group, Ratio()).add(question.image, score < _EVEN)
    return {
        title: dict(sorted(found.items(), key=lambda item: item[0] != "overall")) for title, found in figures.items()
    }


async def _judge(
    answered: Sequence[tuple[Question, str]], settings: ReferenceJudge, folder: Path
) -> tuple[list[Verdict | None], list[Skipped]]:
    options = JudgeOptions(mode=settings.mode, experts="off")
    chosen = settings.model_dump(include={"model", "adapter", "url", "engine_url"})
    judge = open_judge(JudgeChoice(**chosen))
    pairs = [
        Pair(
            id=question.id,
            question=question.text,
            response_a=text or "(no answer)",
            response_b=str(question.reference),
            label="B",
            group=question.group,
            load_images=question.load_images,
        )
        for question, text in answered
    ]
    try:
        await judge.start()
        judging = open_judging(judge, options, folder / FOLDER, concurrency=settings.concurrency)
        return await judging.verdicts(pairs, title="judge"), judging.skipped
    finally:
        await judge.close()
