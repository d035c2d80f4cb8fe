"""The judge: a comparison in, a verdict out, on any engine.

It checks the input, lets a verifier look at what the responses claim if there is one, renders both orders, asks the
engine for all readings in one call and combines them (`genrm.verdict`). It decodes no images, runs no experts itself
and knows no HTTP.

Mirror symmetry is a property of the whole path, not only of the arithmetic: the prompts of a comparison are submitted
in an order that depends on their text alone, and seeds follow that order, so judging (A, B) and (B, A) is the same
computation with the names exchanged, also when critiques are sampled.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from genrm.calibration import UNCALIBRATED, Calibration
from genrm.engines.contract import Completion, Engine, OnText, Prompt, Sampling
from genrm.errors import InputTooLongError, InvalidComparisonError
from genrm.evidence import Examination, ExpertUse, Verifier, evidence_log_odds, is_conflict
from genrm.prompts import LABELS, MARKER, neutralise, render_prompt
from genrm.types import (
    Comparison,
    EvidencePair,
    Mode,
    Probabilities,
    ProbabilitySource,
    Response,
    Sighting,
    Timings,
    Usage,
    Verdict,
)
from genrm.verdict import VerdictRules, combine_samples, read_completion

__all__ = ["DEFAULT_NUM_VOTES", "Judge", "JudgeOptions", "VerdictRules"]

DEFAULT_NUM_VOTES = 5
"""Verdicts sampled per order where the engine gives no log-probabilities and the caller asks for one sample."""
_MAX_VOTE_TOKENS = 8
"""Room for a label, and for quotes or emphasis around it, in fast mode without log-probabilities."""
_ORDERS: tuple[Response, Response] = ("A", "B")
_TEXTS = {"question": "The question", "response_a": "Response A", "response_b": "Response B"}


def _require(condition: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise InvalidComparisonError(f"{name} is {value}; it must be {allowed}.", param=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeOptions:
    """How one comparison is judged. Raises InvalidComparisonError, naming the option, if a value is out of range."""

    mode: Mode = "critique"
    """`critique`: the model writes before its verdict. `fast`: the verdict position only, in one step."""
    samples: int = 1
    """Critiques per order whose probabilities are averaged, ≥ 1. Where more would be exact copies of one (temperature
    0, or fast mode with log-probabilities) one is computed. Without log-probabilities 1 stands for `DEFAULT_NUM_VOTES`
    votes."""
    temperature: float | None = None
    """≥ 0. None: 0 (greedy) for one sample, 1.0 for several or for votes."""
    top_p: float = 1.0
    """Nucleus that is sampled from, in (0, 1]."""
    seed: int | None = None
    """Seed of the sampling, ≥ 0. None: one is derived from the texts, so that the same comparison is always judged
    alike."""
    max_tokens: int = 512
    """Most tokens of one critique with its verdict, ≥ 1."""
    experts: ExpertUse = "prompt"
    """What the judge's verifier, if it has one, is used for: nothing, evidence for the caller, evidence that the model
    reads, or evidence whose log-odds are added to the model's."""

    def __post_init__(self) -> None:
        _require(self.mode in ("critique", "fast"), "mode", self.mode, "'critique' or 'fast'")
        _require(self.samples >= 1, "samples", self.samples, "at least 1")
        _require(self.temperature is None or self.temperature >= 0, "temperature", self.temperature, "at least 0")
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1")
        _require(self.seed is None or self.seed >= 0, "seed", self.seed, "at least 0")
        _require(self.max_tokens >= 1, "max_tokens", self.max_tokens, "at least 1")
        uses = get_args(ExpertUse)
        _require(self.experts in uses, "experts", self.experts, f"one of {', '.join(map(repr, uses))}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What an engine is asked for, after defaults."""

    num_samples: int
    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class _PromptPair:
    """The two prompts of one comparison, by the response that stands first."""

    prompts: Mapping[Response, Prompt]

    @property
    def orders(self) -> list[Response]:
        """By text: the same for (A, B) and (B, A)."""
        return sorted(self.prompts, key=lambda first: self.prompts[first].tail)

    @property
    def texts(self) -> list[str]:
        """Of the prompts, in that order."""
        return [self.prompts[first].shared + self.prompts[first].tail for first in self.orders]

    def repeat(self, num_samples: int) -> list[Prompt]:
        """All rows; the first sample of each order leads, whatever the number of samples."""
        return [self.prompts[first] for first in self.orders] * num_samples


_DEFAULT_RULES = VerdictRules()
_DEFAULT_OPTIONS = JudgeOptions()


class Judge:
    """Judges comparisons with one engine, which the caller starts and closes. Safe to use from many tasks of one loop.

    verifier: checks what responses claim against the image; None judges without. rules: when a verdict is a tie or no
    decision. calibration: of this engine's model. max_text_characters: longest question or response that is accepted.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        verifier: Verifier | None = None,
        rules: VerdictRules = _DEFAULT_RULES,
        calibration: Calibration = UNCALIBRATED,
        max_text_characters: int = 20_000,
    ) -> None:
        self.engine = engine
        self.verifier = verifier
        self.rules = rules
        self.calibration = calibration
        self.max_text_characters = max_text_characters

    @property
    def name(self) -> str:
        """Of the model that judges, as results report it."""
        return self.engine.model

    async def judge(
        self,
        comparison: Comparison,
        options: JudgeOptions = _DEFAULT_OPTIONS,
        *,
        on_text: Callable[[Response, str], None] | None = None,
    ) -> Verdict:
        """The verdict over both orders and all samples.

        on_text: called as `on_text(first, new_text)` while the first sample of the reading in which `first` stands
        first is written, from any thread. `timings_ms` has `queue`, `experts`, `engine` (the slowest reading's) and
        `total`; the caller adds its own. Responses that are equal once stripped and neutralised are a tie, and the
        model is not asked. Cancelling drops the work.

        Raises InvalidComparisonError for an empty text or no image, InputTooLongError for a text over
        `max_text_characters` or a prompt over the model's context, EngineError if the engine fails.
        """
        started = time.perf_counter()
        self.check(comparison)
        if neutralise(comparison.response_a) == neutralise(comparison.response_b):
            return _tie_of_identical(self._source(), seconds=time.perf_counter() - started)
        examining = None
        if self.verifier is not None and options.experts != "off":
            examining = asyncio.ensure_future(self.verifier.examine(comparison))
        try:
            examination = Examination()
            if examining is not None and options.experts == "prompt":
                examination = await examining
            pair = self._render(comparison, options, examination.sightings)
            forward = None if on_text is None else _forward_first_samples(on_text, pair.orders)
            [completions] = await self._complete([pair], options, on_text=forward)
            if examining is not None:
                examination = await examining
        finally:
            if examining is not None:
                examining.cancel()
        verdict = self._combine(pair, completions, options, examination.evidence)
        timings = verdict.timings_ms.model_copy(
            update={"experts": 1000 * examination.seconds, "total": 1000 * (time.perf_counter() - started)}
        )
        warnings = (*examination.warnings, *verdict.warnings)
        return verdict.model_copy(update={"warnings": warnings, "timings_ms": timings})

    async def judge_all(
        self,
        comparisons: Sequence[Comparison],
        options: JudgeOptions = _DEFAULT_OPTIONS,
        *,
        sightings: Sequence[Sighting] = (),
        evidence: Sequence[EvidencePair] = (),
    ) -> list[Verdict]:
        """Verdicts of comparisons about the same images and question, in one call of the engine.

        For whoever compares many responses to one question (`genrm.best_of_n`), and has asked the experts already: the
        engine computes images and question once. sightings: what all of them are told that experts found. evidence: by
        comparison; none by default. Raises as `judge` does, for all comparisons if for one.
        """
        started = time.perf_counter()
        for comparison in comparisons:
            self.check(comparison)
        asked = {
            index: self._render(comparison, options, sightings)
            for index, comparison in enumerate(comparisons)
            if neutralise(comparison.response_a) != neutralise(comparison.response_b)
        }
        completions = await self._complete(list(asked.values()), options)
        found = {
            index: self._combine(asked[index], each, options, evidence[index] if evidence else EvidencePair())
            for index, each in zip(asked, completions, strict=True)
        }
        seconds = time.perf_counter() - started
        return [
            found.get(index) or _tie_of_identical(self._source(), seconds=seconds) for index in range(len(comparisons))
        ]

    @staticmethod
    def _render(comparison: Comparison, options: JudgeOptions, sightings: Sequence[Sighting]) -> "_PromptPair":
        return _PromptPair(
            {first: render_prompt(comparison, first=first, mode=options.mode, sightings=sightings) for first in _ORDERS}
        )

    async def _complete(
        self, pairs: Sequence["_PromptPair"], options: JudgeOptions, *, on_text: OnText | None = None
    ) -> list[Sequence[Completion]]:
        """Completions by comparison, of one call of the engine."""
        if not pairs:
            return []
        plan = _make_plan(options, source=self._source())
        prompts = [prompt for pair in pairs for prompt in pair.repeat(plan.num_samples)]
        completions = await self.engine.complete(
            prompts,
            Sampling(
                temperature=plan.temperature,
                top_p=options.top_p,
                seed=_derive_seed([text for pair in pairs for text in pair.texts])
                if options.seed is None
                else options.seed,
                max_tokens=plan.max_tokens,
                marker=MARKER,
                labels=LABELS,
            ),
            on_text=on_text,
        )
        size = len(_ORDERS) * plan.num_samples
        return [completions[start : start + size] for start in range(0, len(completions), size)]

    def _combine(
        self, pair: "_PromptPair", completions: Sequence[Completion], options: JudgeOptions, evidence: EvidencePair
    ) -> Verdict:
        """One verdict of all completions of a comparison, with its evidence."""
        weighs = options.experts == "combine" and self.verifier is not None
        scale = self.calibration.scale(options.mode, with_evidence=weighs)
        source = self._source()  # again: an engine may find out only now that its server gives no log-probabilities
        orders = pair.orders * (len(completions) // len(pair.orders))
        verdict = combine_samples(
            [
                read_completion(completion, first=first, answer_prefix=pair.prompts[first].answer_prefix, source=source)
                for first, completion in zip(orders, completions, strict=True)
            ],
            rules=self.rules,
            source=source,
            temperature=scale.temperature,
            evidence_log_odds=scale.evidence_weight * evidence_log_odds(evidence) if weighs else None,
            usage=_sum_usage(completions),
            timings=Timings(
                queue=1000 * max(completion.queue_seconds for completion in completions),
                engine=1000 * max(completion.engine_seconds for completion in completions),
            ),
        )
        return verdict.model_copy(
            update={
                "evidence": evidence,
                "expert_conflict": is_conflict(evidence, verdict.preferred),
            }
        )

    def check(self, comparison: Comparison) -> None:
        """Refuse what cannot be judged, before anything is spent on it. Raises as `judge` does."""
        if not comparison.images:
            raise InvalidComparisonError(
                "The comparison has no image; at least one is needed. Send one.", param="images"
            )
        self.check_texts(comparison.question, comparison.response_a, comparison.response_b)

    def check_texts(self, question: str, response_a: str, response_b: str) -> None:
        """The part of `check` that needs no image, for callers who would rather not decode one in vain."""
        texts = {"question": question, "response_a": response_a, "response_b": response_b}
        for param, text in texts.items():
            self.check_text(text, name=_TEXTS[param], param=param)

    def check_text(self, text: str, *, name: str, param: str) -> None:
        """Refuse a text that cannot be judged. name: what messages call it. Raises as `judge` does."""
        if len(text) > self.max_text_characters:
            raise InputTooLongError(
                f"{name} has {len(text):,} characters; the limit is {self.max_text_characters:,}. Shorten it, or "
                "raise GENRM_MAX_TEXT_CHARACTERS.",
                param=param,
            )
        if not neutralise(text):
            raise InvalidComparisonError(f"{name} is empty or white space. Send some text.", param=param)
        if not _is_encodable(text):
            raise InvalidComparisonError(
                f"{name} has half of a surrogate pair, which is no character and has no UTF-8 form. Send whole "
                "characters.",
                param=param,
            )

    def _source(self) -> ProbabilitySource:
        return "logprobs" if self.engine.has_logprobs else "votes"


def _make_plan(options: JudgeOptions, *, source: ProbabilitySource) -> _Plan:
    num_samples, max_tokens = options.samples, options.max_tokens
    if source == "votes" and num_samples == 1:
        num_samples = DEFAULT_NUM_VOTES
    temperature = options.temperature
    if temperature is None:
        temperature = 0.0 if num_samples == 1 else 1.0
    if options.mode == "fast":
        # The label position follows the prompt at once: its probabilities are there before anything is sampled.
        max_tokens = min(max_tokens, 1 if source == "logprobs" else _MAX_VOTE_TOKENS)
    if temperature == 0 or (options.mode == "fast" and source == "logprobs"):
        num_samples = 1
    return _Plan(num_samples=num_samples, temperature=temperature, max_tokens=max_tokens)


def _derive_seed(texts: list[str]) -> int:
    """A seed in [0, 2³¹) that depends on the texts alone."""
    digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def _forward_first_samples(on_text: Callable[[Response, str], None], orders: list[Response]) -> OnText:
    def forward(index: int, text: str) -> None:
        if index < len(orders):
            on_text(orders[index], text)

    return forward


def _tie_of_identical(source: ProbabilitySource, *, seconds: float) -> Verdict:
    return Verdict(
        status="tie",
        reason="The two responses are the same text; the model was not asked.",
        preferred=None,
        probabilities=Probabilities(A=0.5, B=0.5),
        margin=0.0,
        confidence=0.5,
        consistent=True,
        label_mass=1.0,
        probability_source=source,
        critique="",
        readings=(),
        usage=Usage(prompt_tokens=0, completion_tokens=0, cached_tokens=0),
        timings_ms=Timings(total=1000 * seconds),
    )


def _sum_usage(completions: Sequence[Completion]) -> Usage:
    return Usage(
        prompt_tokens=sum(completion.prompt_tokens for completion in completions),
        completion_tokens=sum(completion.completion_tokens for completion in completions),
        cached_tokens=sum(completion.cached_tokens for completion in completions),
    )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
