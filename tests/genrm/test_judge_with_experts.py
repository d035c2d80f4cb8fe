"""The judge with vision experts: what they found goes into the prompt and into the verdict, and mirrors with it."""

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest
from PIL import Image

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.evidence import Examination, ExpertUse
from genrm.judge import Judge, JudgeOptions
from genrm.types import Comparison, Evidence, EvidencePair, Finding, Sighting

PAIR = Comparison(
    images=(Image.new("RGB", (8, 8), "teal"),),
    question="What is it?",
    response_a="A dog on a mat.",
    response_b="A cat on a mat.",
)


class RecordingEngine(FakeEngine):
    """A fake engine that keeps the prompts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[Prompt] = []

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Keep the prompts, then answer."""
        self.prompts += prompts
        return await super().complete(prompts, sampling, on_text=on_text)


class FixedVerifier:
    """Finds what it was told to find, whichever response is called A."""

    def __init__(self, examination: Examination, *, wait: asyncio.Event | None = None) -> None:
        self.examination, self.wait, self.asked = examination, wait, 0

    async def examine(self, comparison: Comparison) -> Examination:
        """As told; mirrored for the swapped comparison."""
        self.asked += 1
        if self.wait is not None:
            await self.wait.wait()
        if comparison.response_a == PAIR.response_a:
            return self.examination
        return dataclasses.replace(self.examination, evidence=self.examination.evidence.swap())

    async def examine_all(self, comparisons: Sequence[Comparison]) -> list[Examination]:
        """One by one."""
        return [await self.examine(comparison) for comparison in comparisons]


def one_item(*, probability: float) -> tuple[Evidence, ...]:
    finding: Finding = "supported" if probability > 0.5 else "unsupported"
    return (Evidence(phrase="dog", mention="dog", polarity="affirmed", finding=finding, probability=probability),)


def examination(*, a: float = 0.9, b: float = 0.1) -> Examination:
    return Examination(
        evidence=EvidencePair(A=one_item(probability=a), B=one_item(probability=b)),
        sightings=(Sighting(phrase="dog", places=("upper left",)),),
        warnings=("Expert 'x' failed.",),
        seconds=0.25,
    )


async def test_evidence_goes_into_both_prompts_before_the_responses_and_into_the_verdict() -> None:
    engine = RecordingEngine()
    verdict = await Judge(engine, verifier=FixedVerifier(examination())).judge(PAIR)
    for prompt in engine.prompts:
        assert prompt.shared.endswith("report dog: 1 (upper left).\n")
        assert "report" not in prompt.tail
    assert verdict.evidence == examination().evidence
    assert verdict.warnings == ("Expert 'x' failed.",)
    assert verdict.timings_ms.experts == 250


async def test_evidence_can_be_kept_from_the_model() -> None:
    engine = RecordingEngine()
    judge = Judge(engine, verifier=FixedVerifier(examination()))
    verdict = await judge.judge(PAIR, JudgeOptions(experts="evidence"))
    assert all("report" not in prompt.shared for prompt in engine.prompts)
    assert verdict.evidence == examination().evidence


async def test_experts_are_not_asked_when_they_are_off_or_the_responses_are_the_same() -> None:
    verifier = FixedVerifier(examination())
    judge = Judge(FakeEngine(), verifier=verifier)
    assert (await judge.judge(PAIR, JudgeOptions(experts="off"))).evidence == EvidencePair()
    await judge.judge(dataclasses.replace(PAIR, response_b=PAIR.response_a))
    assert verifier.asked == 0


@pytest.mark.parametrize("use", ["evidence", "prompt"])
async def test_a_swapped_pair_gives_a_mirrored_verdict_with_evidence(use: ExpertUse) -> None:
    judge = Judge(FakeEngine(), verifier=FixedVerifier(examination()))
    straight, swapped = [await judge.judge(c, JudgeOptions(experts=use)) for c in (PAIR, PAIR.swap())]
    assert straight.probabilities is not None
    assert swapped.probabilities is not None
    assert pytest.approx(swapped.probabilities.B, abs=1e-6) == straight.probabilities.A
    assert straight.evidence == swapped.evidence.swap()
    assert straight.expert_conflict == swapped.expert_conflict


async def test_a_verdict_against_the_experts_is_flagged() -> None:
    preferred = (await Judge(FakeEngine()).judge(PAIR)).preferred
    for_a, for_b = examination(a=0.9, b=0.1), examination(a=0.1, b=0.9)
    flags = {
        name: (
            await Judge(FakeEngine(), verifier=FixedVerifier(e)).judge(PAIR, JudgeOptions(experts="evidence"))
        ).expert_conflict
        for name, e in (("A", for_a), ("B", for_b))
    }
    assert flags == {"A": preferred == "B", "B": preferred == "A"}


async def test_a_cancelled_judgement_cancels_the_examination() -> None:
    cancelled = asyncio.Event()

    class Endless(FixedVerifier):
        async def examine(self, comparison: Comparison) -> Examination:
            try:
                return await super().examine(comparison)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    judging = asyncio.ensure_future(
        Judge(FakeEngine(), verifier=Endless(examination(), wait=asyncio.Event())).judge(PAIR)
    )
    await asyncio.sleep(0.01)
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    await asyncio.wait_for(cancelled.wait(), 10)
