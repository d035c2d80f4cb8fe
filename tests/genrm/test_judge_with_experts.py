"""The judge with vision experts: what they found goes into the prompt and into the verdict, and mirrors with it."""

import asyncio
import dataclasses
import math
from collections.abc import Sequence

import pytest
from PIL import Image

from genrm.best_of_n import rank_candidates
from genrm.calibration import Calibration, Scale
from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.evidence import LEAST_PROBABILITY, Examination, ExpertUse, evidence_log_odds
from genrm.judge import Judge, JudgeOptions
from genrm.types import Comparison, Evidence, EvidencePair, Finding, Response, Sighting, Verdict
from genrm.verdict import OUTWEIGHED

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


def log_odds(verdict: Verdict) -> float:
    assert verdict.probabilities is not None
    return math.log(verdict.probabilities.A / verdict.probabilities.B)


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


@pytest.mark.parametrize("use", ["evidence", "prompt", "combine"])
async def test_a_swapped_pair_gives_a_mirrored_verdict_with_evidence(use: ExpertUse) -> None:
    judge = Judge(FakeEngine(), verifier=FixedVerifier(examination()))
    straight, swapped = [await judge.judge(c, JudgeOptions(experts=use)) for c in (PAIR, PAIR.swap())]
    assert straight.probabilities is not None
    assert swapped.probabilities is not None
    assert pytest.approx(swapped.probabilities.B, abs=1e-6) == straight.probabilities.A
    assert straight.evidence == swapped.evidence.swap()
    assert straight.expert_conflict == swapped.expert_conflict


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0.9,), (0.3,), -math.log(0.6)),
        ((0.9, 0.2), (0.9,), math.log(0.4)),
        ((0.1, 0.2), (0.1,), math.log(0.4)),  # the claim that both make cancels
        ((None,), (None, 0.1), -math.log(0.2)),
        ((0.7, 0.8, 0.99), (), 0.0),  # saying what is there is no better than saying nothing, and no worse
        ((), (), 0.0),
        ((0.0,), (1.0,), math.log(2 * LEAST_PROBABILITY)),
        ((0.0,) * 9, (), -30.0),
    ],
)
def test_evidence_counts_against_a_response_what_is_likelier_false_than_not(
    a: tuple[float | None, ...], b: tuple[float | None, ...], expected: float
) -> None:
    def claims(*probabilities: float | None) -> tuple[Evidence, ...]:
        return tuple(
            Evidence(phrase="dog", mention="dog", polarity="affirmed", finding="unchecked", probability=p)
            for p in probabilities
        )

    pair = EvidencePair(A=claims(*a), B=claims(*b))
    assert evidence_log_odds(pair) == pytest.approx(expected)
    assert evidence_log_odds(pair.swap()) == -evidence_log_odds(pair)


async def test_combined_evidence_is_added_to_the_log_odds_and_not_read() -> None:
    engine = RecordingEngine()
    alone = await Judge(FakeEngine()).judge(PAIR)
    combined = await Judge(engine, verifier=FixedVerifier(examination(a=0.9, b=0.3))).judge(
        PAIR, JudgeOptions(experts="combine")
    )
    assert all("report" not in prompt.shared for prompt in engine.prompts)
    assert combined.evidence_log_odds == pytest.approx(-math.log(0.6))
    assert log_odds(combined) == pytest.approx(log_odds(alone) - math.log(0.6))
    assert alone.evidence_log_odds is None


async def test_combined_evidence_counts_as_the_calibration_says() -> None:
    calibration = Calibration({"critique": 3.0}, {"critique": Scale(temperature=2.0, evidence_weight=0.5)})
    alone = await Judge(FakeEngine()).judge(PAIR)
    judge = Judge(FakeEngine(), verifier=FixedVerifier(examination(a=0.9, b=0.3)), calibration=calibration)
    combined = await judge.judge(PAIR, JudgeOptions(experts="combine"))
    assert log_odds(combined) == pytest.approx(log_odds(alone) / 2 - 0.5 * math.log(0.6))
    assert combined.calibration_temperature == 2.0
    told = await judge.judge(PAIR, JudgeOptions(experts="evidence"))
    assert told.calibration_temperature == 3.0


async def test_a_calibration_of_any_size_still_gives_a_verdict() -> None:
    """Even where the other response's probability is 0 to the last bit."""
    judge = Judge(
        FakeEngine(),
        verifier=FixedVerifier(examination(a=0.0, b=1.0)),
        calibration=Calibration({}, {"critique": Scale(temperature=0.05, evidence_weight=1000.0)}),
    )
    verdict = await judge.judge(PAIR, JudgeOptions(experts="combine"))
    assert (verdict.preferred, verdict.margin) == ("B", -1.0)


async def test_evidence_makes_no_verdict_of_an_answer_without_one() -> None:
    judge = Judge(FakeEngine(verdict="none"), verifier=FixedVerifier(examination()))
    verdict = await judge.judge(PAIR, JudgeOptions(experts="combine"))
    assert (verdict.status, verdict.preferred, verdict.probabilities) == ("abstained", None, None)


@pytest.mark.parametrize("outweighed", ["A", "B"])
async def test_a_verdict_in_which_evidence_outweighs_the_judge_says_so(outweighed: Response) -> None:
    alone = await Judge(FakeEngine()).judge(PAIR)
    found = examination(a=0.0, b=1.0) if outweighed == "A" else examination(a=1.0, b=0.0)
    found = dataclasses.replace(found, warnings=())
    combined = await Judge(FakeEngine(), verifier=FixedVerifier(found)).judge(PAIR, JudgeOptions(experts="combine"))
    assert combined.preferred == ("B" if outweighed == "A" else "A")
    assert combined.warnings == ((OUTWEIGHED,) if alone.preferred == outweighed else ())


async def test_a_ranking_adds_the_evidence_of_both_candidates_as_a_judgement_does() -> None:
    judge = Judge(FakeEngine(), verifier=FixedVerifier(examination(a=0.9, b=0.3)))
    options = JudgeOptions(experts="combine")
    alone = await judge.judge(PAIR, options)
    ranked = await rank_candidates(
        judge, PAIR.images, PAIR.question, [PAIR.response_a, PAIR.response_b], options=options
    )
    [verdict] = ranked.verdicts
    assert verdict.probabilities == alone.probabilities
    assert verdict.evidence_log_odds == alone.evidence_log_odds


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
