"""All experts of a deployment together: who is asked what, and what their answers say about a response.

Detectors are asked for the objects that texts name; then, if there are statement checkers, these are asked for the
sentences in which detectors found nothing false. Every expert runs in a thread of its own with its own batches and time
limit. One that fails, hangs or is too slow costs its own findings only: what it alone would have checked is unchecked,
and a warning says so.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL.Image import Image

from experts.claims import Claim, ClaimExtractor, LexiconExtractor, find_mentions, read_beside
from experts.contract import Expert, ExpertError, Inquiry, PanelMember, StatementChecker, StatementInquiry
from experts.expert_worker import ExpertWorker, OnBatch, StatementWorker
from experts.reliability import Reliability
from experts.statements import find_statements, verify_statements
from experts.verify import Check, Rule, verify_claims
from genrm.errors import GenRMError
from genrm.evidence import CLAIMS_UNREAD, OBJECTS_UNCHECKED, STATEMENTS_UNCHECKED, Examination
from genrm.prompts import neutralise, place_in_image
from genrm.types import Comparison, Detection, Evidence, EvidencePair, Sighting

MAX_PHRASES = 64
"""Objects asked for per examination; a text that names more has the rest unchecked."""

MAX_STATEMENTS = 64
"""Sentences put to checkers per examination where nobody says how many; further ones are unchecked."""

_MOST_CLOSING_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextVerification:
    """What the experts found about one text. evidence: one item per claim, then one per statement, both
    in the order of the text.
    """

    evidence: tuple[Evidence, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Text:
    """A text that answers a question, and what detectors found of its claims."""

    question: str
    text: str
    evidence: tuple[Evidence, ...]


class ExpertPanel:
    """A `genrm.evidence.Verifier` made of experts.

    checkers: read the statements of a text, beside or instead of experts. extractor: finds the claims of a text. rule:
    how several experts are combined. reliabilities: by expert name; those not named say it themselves or get the
    assumed values. timeout_seconds: longest wait for one expert, queueing included. max_statements: put to checkers per
    examination; further ones are unchecked, and a warning says so. on_batch: see `Worker`.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        *,
        checkers: Sequence[StatementChecker] = (),
        extractor: ClaimExtractor | None = None,
        rule: Rule = "weighted",
        reliabilities: Mapping[str, Reliability] | None = None,
        timeout_seconds: float = 10.0,
        max_statements: int = MAX_STATEMENTS,
        on_batch: OnBatch | None = None,
    ) -> None:
        self.experts, self.checkers = tuple(experts), tuple(checkers)
        names = [member.name for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError(f"Two experts have the same name: {', '.join(names)}. Name them differently.")
        self._extractor = extractor or LexiconExtractor()
        self._rule: Rule = rule
        self._max_statements = max_statements
        self._reliabilities = {
            expert.name: (reliabilities or {}).get(expert.name) or expert.reliability or Reliability()
            for expert in experts
        }
        self._workers = [ExpertWorker(e, timeout_seconds=timeout_seconds, on_batch=on_batch) for e in experts]
        self._readers = [StatementWorker(c, timeout_seconds=timeout_seconds, on_batch=on_batch) for c in checkers]

    @property
    def members(self) -> tuple[PanelMember, ...]:
        """Whoever is asked: the experts, then the statement checkers."""
        return (*self.experts, *self.checkers)

    async def examine(self, comparison: Comparison) -> Examination:
        """Evidence for both responses, and sightings of all objects that the question or a response names."""
        [examination] = await self.examine_all((comparison,))
        return examination

    async def examine_all(self, comparisons: Sequence[Comparison]) -> list[Examination]:
        """As `examine`, for comparisons about the same images: every object is looked for once, whoever names it.

        comparisons: at least one. Time and warnings of the one look are those of every examination. Raises ValueError
        if two have different images.
        """
        started = time.perf_counter()
        images = comparisons[0].images
        if any(comparison.images != images for comparison in comparisons):
            raise ValueError("Comparisons that are examined together must be about the same images.")
        read = [
            (await self._extract(comparison.response_a), await self._extract(comparison.response_b))
            for comparison in comparisons
        ]
        asked = {
            question: await read_beside(find_mentions, question)
            for question in dict.fromkeys(comparison.question for comparison in comparisons)
        }
        named = [
            {*(claim.name for claim in (*a, *b)), *asked[comparison.question]}
            for comparison, ((a, _), (b, _)) in zip(comparisons, read, strict=True)
        ]
        checks, warnings = await self._check(images, sorted({name for names in named for name in names}))
        texts = [
            _Text(question=comparison.question, text=text, evidence=self._verify(claims, checks, images))
            for comparison, ((a, _), (b, _)) in zip(comparisons, read, strict=True)
            for text, claims in ((comparison.response_a, a), (comparison.response_b, b))
        ]
        evidence, more = await self._read_statements(images, texts)
        seconds = time.perf_counter() - started
        return [
            Examination(
                evidence=EvidencePair(A=evidence[2 * number], B=evidence[2 * number + 1]),
                sightings=_sightings({name: checks[name] for name in names if name in checks}, images),
                warnings=_distinct((*warnings_a, *warnings_b, *warnings, *more)),
                seconds=seconds,
            )
            for number, (names, ((_, warnings_a), (_, warnings_b))) in enumerate(zip(named, read, strict=True))
        ]

    async def verify_text(self, images: Sequence[Image], text: str) -> TextVerification:
        """Evidence for the claims and statements of one text."""
        claims, warnings = await self._extract(text)
        checks, more = await self._check(images, sorted({claim.name for claim in claims}))
        told = _Text(question="", text=text, evidence=self._verify(claims, checks, images))
        [evidence], most = await self._read_statements(images, [told])
        return TextVerification(evidence=evidence, warnings=_distinct((*warnings, *more, *most)))

    def close(self) -> None:
        """Let the experts' threads end, and wait for that, but not long for an expert that hangs: a process that ends
        while a thread is inside torch is aborted.
        """
        workers: list[ExpertWorker | StatementWorker] = [*self._workers, *self._readers]
        for worker in workers:
            worker.close()
        for worker in workers:
            worker.wait(_MOST_CLOSING_SECONDS)

    def _verify(
        self, claims: Sequence[Claim], checks: Mapping[str, list[Check]], images: Sequence[Image]
    ) -> tuple[Evidence, ...]:
        return verify_claims(claims, checks, sizes=[image.size for image in images], rule=self._rule)

    async def _extract(self, text: str) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
        try:
            return await self._extractor.extract(text), ()
        except GenRMError as error:
            _log.warning("Claims could not be extracted: %s", error)
            return (), (CLAIMS_UNREAD,)

    async def _check(
        self, images: Sequence[Image], phrases: Sequence[str]
    ) -> tuple[dict[str, list[Check]], tuple[str, ...]]:
        """The checks of each phrase by every expert that covers it, and what went wrong."""
        asked, warnings = phrases[:MAX_PHRASES], []
        if len(phrases) > MAX_PHRASES:
            warnings.append(f"{len(phrases)} objects are named; the experts were asked for {MAX_PHRASES} of them.")
        covered = [tuple(p for p in asked if worker.expert.covers(p)) for worker in self._workers]
        answers = await asyncio.gather(
            *(self._ask(worker, images, own) for worker, own in zip(self._workers, covered, strict=True))
        )
        checks: dict[str, list[Check]] = {}
        for worker, own, answer in zip(self._workers, covered, answers, strict=True):
            if isinstance(answer, str):
                warnings.append(f"{answer} {OBJECTS_UNCHECKED}")
                continue
            for phrase in own:
                found = tuple(detection for detection in answer if detection.phrase == phrase)
                check = Check(detections=found, reliability=self._reliabilities[worker.expert.name])
                checks.setdefault(phrase, []).append(check)
        return checks, tuple(warnings)

    async def _read_statements(
        self, images: Sequence[Image], texts: Sequence["_Text"]
    ) -> tuple[list[tuple[Evidence, ...]], tuple[str, ...]]:
        """The evidence of each text with that for its statements behind it, and what went wrong. Every statement is put
        to each checker once per question, whoever makes it.
        """
        if not self._readers:
            return [text.evidence for text in texts], ()
        found = await asyncio.gather(  # long texts take a while, and the event loop has others to serve
            *(asyncio.to_thread(find_statements, neutralise(text.text), text.evidence) for text in texts)
        )
        every = _in_fair_order(
            [
                (place, text.question, each)
                for text, own in zip(texts, found, strict=True)
                for place, each in enumerate(own)
            ]
        )
        asked, warnings = every[: self._max_statements], []
        if len(every) > self._max_statements:
            warnings.append(f"{len(every)} statements are made; {self._max_statements} of them were checked.")
        inquiries = [
            StatementInquiry(
                images=tuple(images),
                question=question,
                statements=tuple(each for own, each in asked if own == question),
            )
            for question in dict.fromkeys(question for question, _ in asked)
        ]
        answers = await asyncio.gather(*(_have_checked(worker, inquiries) for worker in self._readers))
        known = [answer for answer in answers if not isinstance(answer, str)]
        warnings += [f"{answer} {STATEMENTS_UNCHECKED}" for answer in answers if isinstance(answer, str)]
        evidence = [
            (*text.evidence, *verify_statements(own, [answer.get(text.question, {}) for answer in known]))
            for text, own in zip(texts, found, strict=True)
        ]
        return evidence, tuple(warnings)

    @staticmethod
    async def _ask(worker: ExpertWorker, images: Sequence[Image], phrases: tuple[str, ...]) -> list[Detection] | str:
        """What one expert found in all images together, or why there is nothing."""
        asked = (worker.detect(Inquiry(image=image, phrases=phrases)) for image in images)
        try:
            return [
                detection.model_copy(update={"image": number})
                for number, found in enumerate(await asyncio.gather(*asked))
                for detection in found
            ]
        except ExpertError as error:
            return str(error)


def _in_fair_order(stated: Sequence[tuple[int, str, str]]) -> list[tuple[str, str]]:
    """Each question and statement once, the first statements of all texts before their second ones: whose texts they
    are changes nothing. stated: place in its text, question, statement.
    """
    return list(dict.fromkeys((question, statement) for _, question, statement in sorted(stated)))


async def _have_checked(
    worker: StatementWorker, inquiries: Sequence[StatementInquiry]
) -> dict[str, dict[str, float]] | str:
    """By question and statement, what one checker says, or why it says nothing."""
    try:
        answers = await asyncio.gather(*(worker.check(inquiry) for inquiry in inquiries))
    except ExpertError as error:
        return str(error)
    return {inquiry.question: answer for inquiry, answer in zip(inquiries, answers, strict=True)}


def _sightings(checks: Mapping[str, Sequence[Check]], images: Sequence[Image]) -> tuple[Sighting, ...]:
    """One sighting per checked object, by the expert with the best recall, in alphabetical order: the line of evidence
    must not tell which response is A.
    """
    sightings = []
    for phrase in sorted(checks):
        best = max(checks[phrase], key=lambda check: check.reliability.recall)
        places = tuple(_place(detection, images[detection.image]) for detection in _in_reading_order(best.detections))
        sightings.append(Sighting(phrase=phrase, places=places))
    return tuple(sightings)


def _in_reading_order(detections: Sequence[Detection]) -> list[Detection]:
    """Line by line, from the left in each: a line holds those whose middle is at most half an object's height below
    that of its first one.
    """
    lines: list[list[Detection]] = []
    for detection in sorted(detections, key=lambda d: (d.image, d.box[1] + d.box[3])):
        first = lines[-1][0] if lines else detection
        lower = (detection.box[1] + detection.box[3] - first.box[1] - first.box[3]) / 2
        if lines and first.image == detection.image and lower <= (first.box[3] - first.box[1]) / 2:
            lines[-1].append(detection)
        else:
            lines.append([detection])
    return [detection for line in lines for detection in sorted(line, key=lambda d: d.box[0] + d.box[2])]


def _place(detection: Detection, image: Image) -> str:
    x1, y1, x2, y2 = detection.box
    return place_in_image((x1 + x2) / 2, (y1 + y2) / 2, width=image.width, height=image.height)


def _distinct(warnings: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(warnings))
