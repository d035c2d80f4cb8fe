"""The nouns of the project: what is judged, what the model wrote, and what we conclude from it.

Words: **A / B** are the caller's names of the two responses; **first / second** are positions in one prompt. They are
never mixed: a `Reading` knows which response stood first, a `Verdict` speaks only of A and B. `Comparison` holds
decoded images and is a plain dataclass; everything that goes over the wire is a frozen pydantic model.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, Field

Response = Literal["A", "B"]
Mode = Literal["critique", "fast"]
Status = Literal["decided", "tie", "abstained"]
ProbabilitySource = Literal["logprobs", "votes"]
FinishReason = Literal["stop", "length"]
Polarity = Literal["affirmed", "denied"]
Finding = Literal["supported", "unsupported", "contradicted", "unchecked"]
EvidenceKind = Literal["object", "statement"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two responses to one question about one or more images.

    images: decoded RGB pictures, upright and without alpha (service intake or the caller sees to that), at least one.
    """

    images: tuple[Image, ...]
    question: str
    response_a: str
    response_b: str

    def swap(self) -> "Comparison":
        """The same comparison with the caller's names A and B exchanged."""
        return Comparison(
            images=self.images, question=self.question, response_a=self.response_b, response_b=self.response_a
        )


class WireModel(BaseModel):
    """A frozen value that is sent as JSON. Unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Probabilities(WireModel):
    """How likely each response is the better one, in [0, 1]; the two sum to 1."""

    A: float = Field(ge=0, le=1)
    B: float = Field(ge=0, le=1)


class Reading(WireModel):
    """What the model wrote for one order of the two responses."""

    first: Response = Field(description="Which response stood first in this prompt.")
    critique: str = Field(description="The model's text before its last verdict; empty in fast mode.")
    probabilities: Probabilities | None = Field(description="P per response from this reading; null when unparsed.")
    label_mass: float = Field(ge=0, le=1, description="Probability put on legal labels at the verdict position.")
    finish_reason: FinishReason = Field(
        description="`stop`: the model ended its text. `length`: it hit the token limit."
    )
    completion_tokens: int = Field(ge=0)


class Detection(WireModel):
    """One object that a vision expert found."""

    phrase: str
    score: float = Field(ge=0, le=1)
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels of the original image.")
    image: int = Field(default=0, ge=0, description="Which image of the request it is in, counted from 0.")
    expert: str
    model: str = Field(description="Hub id or folder of the expert's model.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What vision experts together found of one object: its name, and the part of the image that each one is in."""

    phrase: str
    places: tuple[str, ...]


class Evidence(WireModel):
    """What the image says about one object that a response claims, or about one statement that it makes."""

    kind: EvidenceKind = Field(
        default="object",
        description="`object`: a claim about an object, checked by detectors. `statement`: a whole sentence, checked "
        "by a vision-language model; it has no detections.",
    )
    phrase: str = Field(description="The object, by the name that the experts were asked for; or the statement.")
    mention: str = Field(description="The object or the statement, as the response words it.")
    polarity: Polarity = Field(
        description="`affirmed`: it is said to be there, or to be so. `denied`: not to be there."
    )
    count: int | None = Field(default=None, ge=0, description="How many the response claims, where it says so.")
    place: str | None = Field(
        default=None,
        description="Where in the image the response says that it is, where it does: `middle left`, `top`, `left`.",
    )
    finding: Finding = Field(
        description="`supported`; `unsupported`: claimed and not found; `contradicted`: denied and found, or found in "
        "another number or at another place, or a statement that is likelier false; `unchecked`: no expert could say."
    )
    probability: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="That the claim is true, given what was found and how reliable the experts are; null if unchecked.",
    )
    detections: tuple[Detection, ...] = ()


class EvidencePair(WireModel):
    """Evidence per response."""

    A: tuple[Evidence, ...] = ()
    B: tuple[Evidence, ...] = ()

    def swap(self) -> "EvidencePair":
        """The same evidence with the names A and B exchanged."""
        return EvidencePair(A=self.B, B=self.A)


def describe_found(evidence: Evidence) -> str:
    """How many an expert found, such as "2"; "2 to 3" where several found different numbers."""
    numbers = Counter(detection.expert for detection in evidence.detections).values() or [0]
    return " to ".join(dict.fromkeys([str(min(numbers)), str(max(numbers))]))


def mean_support(evidence: tuple[Evidence, ...]) -> float | None:
    """Expected share of a response's checked claims that are true, in [0, 1]; None if none was checked."""
    known = [item.probability for item in evidence if item.probability is not None]
    return sum(known) / len(known) if known else None


class Usage(WireModel):
    """Tokens spent on one judgement, image tokens included, summed over readings."""

    prompt_tokens: int = Field(ge=0, description="Tokens in all prompts, whether computed or taken from a cache.")
    completion_tokens: int = Field(ge=0)
    cached_tokens: int = Field(ge=0, description="Prompt tokens not computed again: shared between orders or requests.")


class Timings(WireModel):
    """Where the time went, in milliseconds. `total` is wall time and may exceed the sum of the parts."""

    queue: float = 0.0
    media: float = 0.0
    experts: float = 0.0
    engine: float = 0.0
    total: float = 0.0


class Verdict(WireModel):
    """The answer over both orders and all samples."""

    status: Status = Field(
        description="`decided`; `tie`: neither is better by more than the tie margin; `abstained`: no verdict, see "
        "`reason`."
    )
    reason: str | None = Field(default=None, description="Why the judge abstained, or was not asked.")
    preferred: Response | None = Field(description="The better response; null unless decided.")
    probabilities: Probabilities | None = Field(
        description="How likely each response is the better one, over both orders; null when nothing was parsed."
    )
    margin: float | None = Field(default=None, ge=-1, le=1, description="P(A) − P(B).")
    confidence: float = Field(ge=0, le=1, description="The larger probability × `label_mass`.")
    consistent: bool | None = Field(description="Both orders prefer the same response; null when one is unparsed.")
    label_mass: float = Field(
        ge=0,
        le=1,
        description="Probability put on legal labels at the verdict position, in the order where it is lower.",
    )
    probability_source: ProbabilitySource = Field(
        description="`logprobs`: read at the verdict position. `votes`: shares of sampled verdicts, where the engine "
        "gives no log-probabilities."
    )
    calibration_temperature: float = Field(
        default=1.0,
        gt=0,
        description="What the log-odds were divided by to get `probabilities`; readings are as given.",
    )
    evidence_log_odds: float | None = Field(
        default=None,
        description="What the experts' findings added to the log-odds of A (nats); null where they are no part of "
        "`probabilities`.",
    )
    critique: str = Field(
        description="The first critique that argues for the preferred response, that of A first before that of B "
        "first; empty in fast mode."
    )
    readings: tuple[Reading, ...] = Field(description="What the model wrote in each order, all samples.")
    evidence: EvidencePair = Field(
        default=EvidencePair(), description="What experts found of what each response claims."
    )
    expert_conflict: bool = Field(
        default=False, description="The experts support the response that was not preferred clearly better."
    )
    warnings: tuple[str, ...] = Field(default=(), description="What went wrong without spoiling the verdict.")
    usage: Usage
    timings_ms: Timings
