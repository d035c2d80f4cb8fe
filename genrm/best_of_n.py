"""Best-of-N: candidates for one question in, a ranking with its reasons out.

A tournament (`genrm.ranking`) whose matches a judge decides, both orders each. Experts look at the images once and
everybody is told the same findings, so that all prompts of a call begin alike and the engine computes that beginning
once. Candidates that are the same text are one.

An abstention or a tie says nothing and counts as a draw, so one failed reading costs one match and not the ranking.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL.Image import Image

from genrm.errors import InvalidComparisonError
from genrm.judge import Judge, JudgeOptions
from genrm.prompts import neutralise
from genrm.ranking import Match, Pair, Strategy, StrategyChoice, choose_strategy, count_judgements, load_solver, rank
from genrm.types import Comparison, Evidence, EvidencePair, Sighting, Timings, Usage, Verdict

_MAX_COMPARISONS_PER_CALL = 32
_MAX_CALLS_AT_ONCE = 2
"""Of one ranking. The engine serves calls in the order of their arrival: a single judgement in between waits for as
many comparisons as these, and not for the whole tournament."""
_DEFAULT_OPTIONS = JudgeOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How one candidate did. win_probability: of being better than another candidate drawn at random, in (0, 1)."""

    index: int
    win_probability: float
    wins: int
    losses: int
    ties: int
    """Ties and abstentions."""
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineCall:
    """One call of the engine with several judgements. started, ended: by `time.perf_counter`. queue_seconds: how long
    the slowest of its readings waited for the worker.
    """

    started: float
    ended: float
    queue_seconds: float
    num_judgements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfN:
    """A ranking. standings: best first; of equal candidates the earlier one. cycles: see `Ranking.cycles`, by index of
    the first candidate with a text. consistency: share of judgements in which both orders prefer the same candidate,
    in [0, 1]; None without judgements.
    """

    standings: tuple[Standing, ...]
    strategy: Strategy
    verdicts: tuple[Verdict, ...]
    """Of all judgements, in the order in which they ended."""
    num_judgements: int
    num_abstained: int
    consistency: float | None
    cycles: tuple[tuple[int, ...], ...]
    matches: tuple[Match, ...]
    """Each judgement by index of the first candidates with these texts, in the order in which they were asked for."""
    usage: Usage
    timings_ms: Timings
    """`queue` and `engine` are those of the slowest judgement."""
    warnings: tuple[str, ...]
    calls: tuple[EngineCall, ...] = ()
    """In the order in which they ended."""


async def rank_candidates(
    judge: Judge,
    images: tuple[Image, ...],
    question: str,
    candidates: Sequence[str],
    *,
    strategy: StrategyChoice = "auto",
    budget: int | None = None,
    options: JudgeOptions = _DEFAULT_OPTIONS,
    on_judged: Callable[[int], None] | None = None,
) -> BestOfN:
    """Rank responses to a question about images.

    candidates: at least one. budget: most judgements. on_judged: called with the number of judgements of each call of
    the engine when it has ended well. Raises what `Judge.judge` raises, with `documents[i]` as the field of candidate
    i, and InvalidComparisonError for a budget that is too small.
    """
    check_candidates(judge, question, candidates)
    if not images:
        raise InvalidComparisonError("The question has no image; at least one is needed. Send one.", param="query")
    numbers = _number_texts(candidates)
    texts = [candidates[numbers.index(number)] for number in range(max(numbers) + 1)]
    choose_strategy(len(texts), strategy=strategy, budget=budget)  # refuses before anything is spent
    await asyncio.to_thread(load_solver)  # an import would hold up everybody else's work
    matches = _Matches(judge, images, question, texts, options, on_judged)
    await matches.look()
    ranking = await rank(len(texts), matches.compare, strategy=strategy, budget=budget)
    chances = ranking.win_probabilities()
    verdicts = list(matches.verdicts.values())
    consistent = [verdict.consistent for verdict in verdicts if verdict.consistent is not None]
    return BestOfN(
        standings=tuple(
            matches.standing(number, index=index, win_probability=chances[number])
            for number in ranking.order
            for index in range(len(candidates))
            if numbers[index] == number
        ),
        strategy=ranking.strategy,
        verdicts=tuple(verdicts),
        num_judgements=ranking.num_judgements,
        num_abstained=sum(verdict.status == "abstained" for verdict in verdicts),
        consistency=sum(consistent) / len(consistent) if consistent else None,
        cycles=tuple(tuple(numbers.index(number) for number in cycle) for cycle in ranking.cycles()),
        matches=tuple(
            Match(one=numbers.index(each.one), other=numbers.index(each.other), probability=each.probability)
            for each in ranking.matches
        ),
        usage=matches.usage(),
        timings_ms=matches.timings(),
        warnings=matches.warnings,
        calls=tuple(matches.calls),
    )


def check_candidates(judge: Judge, question: str, candidates: Sequence[str]) -> None:
    """Refuse texts that cannot be judged, before anything is spent on them. Raises as `rank_candidates` does."""
    judge.check_text(question, name="The question", param="query")
    for index, text in enumerate(candidates):
        judge.check_text(text, name=f"Candidate {index}", param=f"documents[{index}]")


def count_most_at_once(
    candidates: Sequence[str], *, strategy: StrategyChoice = "auto", budget: int | None = None
) -> int:
    """How many judgements of such a ranking the engine is given at once, at most.

    candidates: checked, since they are read whole. Raises InvalidComparisonError for a budget that is too small.
    """
    num_different = len(set(_number_texts(candidates)))
    return min(
        count_judgements(num_different, strategy=strategy, budget=budget),
        _MAX_CALLS_AT_ONCE * _MAX_COMPARISONS_PER_CALL,
    )


def _number_texts(candidates: Sequence[str]) -> list[int]:
    """By candidate the number of its text, from 0 in the order of first appearance; equal texts have one number."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(neutralise(text), len(numbers)) for text in candidates]


@dataclass(slots=True)
class _Matches:
    """Judges pairs of candidates, all of them different texts, and remembers the verdicts."""

    judge: Judge
    images: tuple[Image, ...]
    question: str
    texts: Sequence[str]
    options: JudgeOptions
    on_judged: Callable[[int], None] | None
    verdicts: dict[Pair, Verdict] = field(default_factory=dict)
    calls: list[EngineCall] = field(default_factory=list)
    sightings: tuple[Sighting, ...] = ()
    warnings: tuple[str, ...] = ()
    _evidence: dict[int, tuple[Evidence, ...]] = field(default_factory=dict)
    _expert_seconds: float = 0.0

    async def look(self) -> None:
        """Let the judge's experts, if there are any and they are wanted, look at the images for all candidates."""
        verifier = self.judge.verifier
        if verifier is None or self.options.experts == "off" or len(self.texts) < 2:
            return
        numbers = list(range(len(self.texts)))
        pairs = list(zip(numbers[::2], [*numbers[1::2], 0], strict=False))  # of an odd number, the last with the first
        found = await verifier.examine_all([self._comparison(pair) for pair in pairs])
        for (one, other), examination in zip(pairs, found, strict=True):
            self._evidence |= {one: examination.evidence.A, other: examination.evidence.B}
        if self.options.experts == "prompt":
            by_phrase = {sighting.phrase: sighting for each in found for sighting in each.sightings}
            self.sightings = tuple(by_phrase[phrase] for phrase in sorted(by_phrase))
        self.warnings = tuple(dict.fromkeys(warning for each in found for warning in each.warnings))
        self._expert_seconds = max(each.seconds for each in found)

    async def compare(self, pairs: Sequence[Pair]) -> list[float]:
        """Probability of the first of each pair."""
        gate = asyncio.Semaphore(_MAX_CALLS_AT_ONCE)

        async def judge(part: Sequence[Pair]) -> None:
            async with gate:
                started = time.perf_counter()
                found = await self.judge.judge_all(
                    [self._comparison(pair) for pair in part],
                    self.options,
                    sightings=self.sightings,
                    evidence=[self._evidence_of(pair) for pair in part],
                )
                call = EngineCall(
                    started=started,
                    ended=time.perf_counter(),
                    queue_seconds=max(each.timings_ms.queue for each in found) / 1000,
                    num_judgements=len(part),
                )
            self.calls.append(call)
            if self.on_judged is not None:
                self.on_judged(len(part))
            self.verdicts |= dict(zip(part, found, strict=True))

        starts = range(0, len(pairs), _MAX_COMPARISONS_PER_CALL)
        tasks = [asyncio.ensure_future(judge(pairs[start : start + _MAX_COMPARISONS_PER_CALL])) for start in starts]
        try:
            await asyncio.gather(*tasks)
        finally:  # one that failed, or a caller who left, takes the others with it
            for task in tasks:
                task.cancel()
        return [_probability(self.verdicts[pair]) for pair in pairs]

    def standing(self, number: int, *, index: int, win_probability: float) -> Standing:
        """How a candidate did."""
        results = [
            None if verdict.preferred is None else number == (one if verdict.preferred == "A" else other)
            for (one, other), verdict in self.verdicts.items()
            if number in (one, other)
        ]
        return Standing(
            index=index,
            win_probability=win_probability,
            wins=results.count(True),
            losses=results.count(False),
            ties=results.count(None),
            evidence=self._evidence.get(number, ()),
        )

    def usage(self) -> Usage:
        """Tokens of all judgements."""
        usages = [verdict.usage for verdict in self.verdicts.values()]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
            cached_tokens=sum(usage.cached_tokens for usage in usages),
        )

    def timings(self) -> Timings:
        """What took how long, milliseconds; `total` and `media` are the caller's."""
        timings = [verdict.timings_ms for verdict in self.verdicts.values()]
        return Timings(
            queue=max((each.queue for each in timings), default=0.0),
            engine=max((each.engine for each in timings), default=0.0),
            experts=1000 * self._expert_seconds,
        )

    def _evidence_of(self, pair: Pair) -> EvidencePair:
        """What experts found of both candidates."""
        one, other = (self._evidence.get(number, ()) for number in pair)
        return EvidencePair(A=one, B=other)

    def _comparison(self, pair: Pair) -> Comparison:
        one, other = pair
        return Comparison(
            images=self.images,
            question=self.question,
            response_a=self.texts[one],
            response_b=self.texts[other],
        )


def _probability(verdict: Verdict) -> float:
    if verdict.status == "abstained" or verdict.probabilities is None:
        return 0.5
    return verdict.probabilities.A
