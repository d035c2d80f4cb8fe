"""What detections say about claims: supported, unsupported, contradicted or unchecked, and how probably true.

Not here: which objects a text claims (`experts.claims`), who is asked and when (`experts.panel`), or what a judge
makes of it (`genrm.judge`).

Several experts are combined by a rule. `weighted`, the default, asks what is most probable given what each of them
found and how reliable it is (`experts.reliability`); `any` believes whoever finds something; `all` believes in an
object only if everyone who checked found it. The probabilities are those of `weighted` under every rule.

A claim with a place (`experts.places`) is that one of the objects lies there: the middle of its box, in any image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experts.claims import Claim
from experts.places import Place
from experts.reliability import Reliability, infer_counts
from genrm.types import Detection, Evidence, Finding

Rule = Literal["weighted", "any", "all"]

PLACE_PRECISION = 0.87
"""How probably a text is right about a place if an object lies there, where texts are right as often as wrong: places
are wide and their borders a matter of taste. Measured in tests/pocket/test_places.py, see docs/design/experts.md."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What one expert that covers a phrase found of it. detections: those over its threshold, none if nothing."""

    detections: tuple[Detection, ...]
    reliability: Reliability


Checks = Mapping[str, Sequence[Check]]
"""Per phrase, the checks of all experts that cover it and did not fail; a phrase without any is unchecked."""


def verify_claims(
    claims: Sequence[Claim], checks: Checks, *, sizes: Sequence[tuple[int, int]], rule: Rule = "weighted"
) -> tuple[Evidence, ...]:
    """Evidence for each claim of one response, in the order of the claims. sizes: width and height of each image that
    was looked at, pixels.
    """
    return tuple(_verify(claim, checks.get(claim.name, ()), sizes, rule) for claim in claims)


def _verify(claim: Claim, checks: Sequence[Check], sizes: Sequence[tuple[int, int]], rule: Rule) -> Evidence:
    finding: Finding = "unchecked"
    probability = None
    if checks:
        exact = claim.count if claim.is_exact else None
        numbers = [(len(check.detections), check.reliability) for check in checks]
        posterior = infer_counts(numbers, at_least=exact or 0)
        finding = _decide(claim, _count(posterior, [number for number, _ in numbers], rule))
        allowed = [p if _allows(claim, count) else 0.0 for count, p in enumerate(posterior)]
        if claim.place is not None:
            there = [any(_lies(d, claim.place, sizes) for d in check.detections) for check in checks]
            probability = _place_probability(allowed, [number for number, _ in numbers], is_there=any(there))
            if finding == "supported" and not (all(there) if rule == "all" else any(there)):
                finding = "contradicted"
        elif finding != "unchecked":
            probability = min(1.0, sum(allowed))
    return Evidence(
        phrase=claim.name,
        mention=claim.mention,
        polarity=claim.polarity,
        count=claim.count,
        place=None if claim.place is None else claim.place.name,
        finding=finding,
        probability=probability,
        detections=tuple(detection for check in checks for detection in check.detections),
    )


def _lies(detection: Detection, place: Place, sizes: Sequence[tuple[int, int]]) -> bool:
    x1, y1, x2, y2 = detection.box
    width, height = sizes[detection.image]
    return place.holds((x1 + x2) / 2 / width, (y1 + y2) / 2 / height)


def _place_probability(allowed: Sequence[float], numbers: Sequence[int], *, is_there: bool) -> float:
    """That one of the objects is at a claimed place. allowed: probability of each true count, 0 where the claim is not
    true of it. numbers: how many each expert found. is_there: one of them lies there.

    With an object there it is that the claim is true anywhere, times `PLACE_PRECISION`. Otherwise one more object must
    have been overlooked and lie there, which is as likely as not: before looking, existence is even as well.
    """
    if is_there:
        return PLACE_PRECISION * sum(allowed)
    return sum(allowed[max(numbers) + 1 :]) / 2


def _count(posterior: Sequence[float], numbers: Sequence[int], rule: Rule) -> int:
    """How many objects the rule believes in: none, or a number that some expert found.

    How many were probably overlooked beside them shows in the probability only: five boxes do not contradict "five
    dogs".
    """
    if rule == "any":
        return max(numbers)
    if rule == "all":
        return min(numbers)
    if posterior[0] >= 0.5:
        return 0
    return max(filter(None, numbers), key=lambda count: posterior[count], default=0)


def _decide(claim: Claim, believed: int) -> Finding:
    if _allows(claim, believed):
        return "supported"
    if claim.polarity == "denied":
        return "unchecked" if claim.is_narrower else "contradicted"
    return "contradicted" if believed else "unsupported"


def _allows(claim: Claim, count: int) -> bool:
    """Whether a claim is true where so many objects are there; "two women", where there are at least two people."""
    if claim.polarity == "denied":
        return count == 0
    if not claim.is_exact or claim.count is None:
        return count > 0
    return count >= claim.count if claim.is_narrower else count == claim.count
