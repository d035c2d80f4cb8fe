"""What a card says, as data: sentences, claims, boxes, orders. Not where it stands, and nothing of fonts.

Texts are as they came; `service.card.letters` makes them visible.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from experts.findings import (
    FINDING_SIGNS,
    NO_CLAIMS,
    collect_detections,
    describe_claim,
    describe_ground,
    find_common,
)
from genrm.types import Evidence, EvidencePair, Finding, Probabilities, Response, Status
from service.schemas import JudgeResponse
from service.verdict_words import describe_agreement, describe_outcome

MAX_CLAIMS = 8
"""Of one response; of more it is said how many there are."""
MAX_PHOTOS = 6
_MAX_NOTES = 4


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a response. mention: its words there, to be marked; empty for a statement. said: object or
    statement, and finding. ground: what that rests on.
    """

    mention: str
    finding: Finding
    said: str
    ground: str


@dataclass(frozen=True, kw_only=True)
class Side:
    """One response. more: a sentence on what is not in `claims`, or empty."""

    name: Response
    text: str
    is_preferred: bool
    claims: tuple[Claim, ...]
    more: str


@dataclass(frozen=True, kw_only=True)
class Box:
    """What an expert found. corners: x1, y1, x2, y2 in [0, 1] of width and height. finding: None if claims differ."""

    corners: tuple[float, float, float, float]
    label: str
    finding: Finding | None


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One image of the comparison. image: RGB, upright."""

    image: Image
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class CardContent:
    """All that a card says. agreement: sign, title, sentence. orders: what each order gave. critique: never empty."""

    status: Status
    preferred: Response | None
    title: str
    sentence: str
    probabilities: Probabilities | None
    margin: str
    agreement: tuple[str, str, str]
    orders: str
    question: str
    sides: tuple[Side, Side]
    photos: tuple[Photo, ...]
    caption: str
    critique: str
    notes: tuple[str, ...]
    facts: str


def build_content(verdict: JudgeResponse, images: Sequence[Image], *, question: str, a: str, b: str) -> CardContent:
    """What the card of a verdict says. images, question, a, b: what was judged; images RGB and upright, or none."""
    title, sentence = describe_outcome(verdict)
    photos = tuple(
        Photo(image=image, boxes=_list_boxes(image, verdict.evidence, number))
        for number, image in enumerate(images[:MAX_PHOTOS])
    )
    return CardContent(
        status=verdict.status,
        preferred=verdict.preferred,
        title=title.rstrip("."),
        sentence=sentence,
        probabilities=verdict.probabilities,
        margin="" if verdict.margin is None else f"margin P(A) − P(B) = {verdict.margin:+.3f}".replace("-", "−"),
        agreement=describe_agreement(verdict),
        orders=" · ".join(_describe_order(verdict, first) for first in ("A", "B")),
        question=question,
        sides=(
            _build_side("A", a, verdict.evidence.A, verdict.preferred),
            _build_side("B", b, verdict.evidence.B, verdict.preferred),
        ),
        photos=photos,
        caption=_describe_photos(photos, len(images)),
        critique=verdict.critique or _explain_silence(verdict),
        notes=_list_notes(verdict),
        facts=_describe_facts(verdict),
    )


def _build_side(name: Response, text: str, evidence: Sequence[Evidence], preferred: Response | None) -> Side:
    claims = tuple(
        Claim(
            mention=item.mention if item.kind == "object" else "",  # a whole sentence would hide the marks in it
            finding=item.finding,
            said=f"{describe_claim(item)}: {item.finding}",
            ground=describe_ground(item),
        )
        for item in evidence[:MAX_CLAIMS]
    )
    num_more = len(evidence) - len(claims)
    more = (
        NO_CLAIMS if not claims else f"and {num_more} more {'claim' if num_more == 1 else 'claims'}" if num_more else ""
    )
    return Side(name=name, text=text, is_preferred=name == preferred, claims=claims, more=more)


def _list_boxes(image: Image, evidence: EvidencePair, number: int) -> tuple[Box, ...]:
    boxes = []
    for each in collect_detections(evidence, image=number):
        x1, y1, x2, y2 = each.box
        spans = ((x1, image.width), (y1, image.height), (x2, image.width), (y2, image.height))
        left, top, right, bottom = (min(1.0, max(0.0, value / size)) for value, size in spans)
        signs = " ".join(
            name + "".join(dict.fromkeys(FINDING_SIGNS[item.finding] for item in side if item.phrase == each.phrase))
            for name, side in (("A", evidence.A), ("B", evidence.B))
            if any(item.phrase == each.phrase for item in side)
        )
        boxes.append(
            Box(
                corners=(left, top, right, bottom),
                label=f"{each.phrase} {each.score:.2f}  {signs}",
                finding=find_common(each.phrase, evidence),
            )
        )
    return tuple(boxes)


def _describe_photos(photos: Sequence[Photo], num_images: int) -> str:
    if not photos:
        return "No image was given to the card."
    boxes = any(photo.boxes for photo in photos)
    said = (
        "Boxes: what the experts found, with its score, and what that says of each response’s claim."
        if boxes
        else "No boxes: no expert was asked, or none of the claimed objects was found."
    )
    num_more = num_images - len(photos)
    more = "1 more image is" if num_more == 1 else f"{num_more} more images are"
    return f"{said} {more} not shown." if num_more else said


def _describe_order(verdict: JudgeResponse, first: Response) -> str:
    readings = [reading for reading in verdict.readings if reading.first == first]
    found = [reading.probabilities.A for reading in readings if reading.probabilities is not None]
    if not readings:
        return f"{first} read first: not read"
    if not found:
        return f"{first} read first: no verdict"
    if len(readings) == 1:
        return f"{first} read first: P(A) {found[0]:.1%}"
    return f"{first} read first: P(A) {min(found):.1%} to {max(found):.1%} in {len(found)} of {len(readings)} readings"


def _explain_silence(verdict: JudgeResponse) -> str:
    wrote = any(reading.completion_tokens for reading in verdict.readings)
    return (
        "The judge wrote no critique." if wrote else "No critique was written: fast mode asks for probabilities only."
    )


def _list_notes(verdict: JudgeResponse) -> tuple[str, ...]:
    notes = list(verdict.warnings)
    if verdict.probability_source == "votes":
        notes.insert(0, "The probability is a share of votes: the model's server gives no log-probabilities.")
    if verdict.expert_conflict:
        notes.insert(0, "The experts disagree: they support the other response clearly better.")
    if len(notes) > _MAX_NOTES:
        notes[_MAX_NOTES - 1 :] = [f"{len(notes) - _MAX_NOTES + 1} more notes are in the verdict's JSON."]
    return tuple(notes)


def _describe_facts(verdict: JudgeResponse) -> str:
    detections = (each for item in (*verdict.evidence.A, *verdict.evidence.B) for each in item.detections)
    experts = dict.fromkeys(f"{each.expert} ({each.model})" for each in detections)
    facts = [f"model {verdict.model}", f"prompt {verdict.prompt_version}"]
    if experts:
        facts.append(f"experts {', '.join(experts)}")
    facts += [f"label mass {verdict.label_mass:.2f}", f"confidence {verdict.confidence:.2f}"]
    return " · ".join([*facts, time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(verdict.created))])
