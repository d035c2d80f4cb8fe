"""How findings are told to people, wherever they are shown: in a colour, a sign and words; and which boxes belong to
them.

Colours are Okabe and Ito's, which people with any colour vision can tell apart; none stands without its sign or word.
"""

from genrm.types import Detection, Evidence, EvidencePair, Finding, describe_found

FINDING_COLOURS: dict[Finding, tuple[int, int, int]] = {
    "supported": (0, 114, 178),
    "unsupported": (230, 159, 0),
    "contradicted": (213, 94, 0),
    "unchecked": (120, 120, 120),
}
FINDING_SIGNS: dict[Finding, str] = {"supported": "✓", "unsupported": "∅", "contradicted": "✗", "unchecked": "?"}
FINDING_MEANINGS: dict[Finding, str] = {
    "supported": "the experts found it",
    "unsupported": "claimed, not found",
    "contradicted": "something else was found, or the statement is likelier false",
    "unchecked": "no expert could say",
}
NO_CLAIMS = "No claims about objects were found in it, or no expert was asked."
MAX_BOXES = 60
_SIDES = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}


def describe_claim(item: Evidence) -> str:
    """What is claimed, such as "bed × 3", "no dog" or "cup in the middle left"; a statement in quotation marks."""
    if item.kind == "statement":
        return f"“{item.mention}”"
    if item.place is not None:  # which is of one object
        return f"{item.phrase} {_SIDES.get(item.place, f'in the {item.place}')}"
    claimed = f"no {item.phrase}" if item.polarity == "denied" else item.phrase
    return claimed if item.count is None else f"{claimed} × {item.count}"


def describe_ground(item: Evidence) -> str:
    """What its finding rests on, such as "found 2, 98% likely true"; empty if it is unchecked."""
    is_sought = item.kind == "object" and item.finding != "unchecked"
    found = [f"found {describe_found(item)}"] if is_sought else []
    sure = [] if item.probability is None else [f"{item.probability:.0%} likely true"]
    return ", ".join(found + sure)


def collect_detections(evidence: EvidencePair, *, image: int = 0) -> list[Detection]:
    """What was found in an image, each box once: both responses may claim the same object. The surest come first.

    image: which one of the request, counted from 0.
    """
    found = {
        (each.phrase, each.box, each.expert): each
        for item in (*evidence.A, *evidence.B)
        for each in item.detections
        if each.image == image
    }
    return sorted(found.values(), key=lambda each: -each.score)[:MAX_BOXES]


def describe_claims(phrase: str, evidence: EvidencePair) -> str:
    """Which claims about an object hold, such as "A supported, B contradicted"."""
    said = {
        name: ", ".join(dict.fromkeys(item.finding for item in side if item.phrase == phrase))
        for name, side in (("A", evidence.A), ("B", evidence.B))
    }
    return ", ".join(f"{name} {findings}" for name, findings in said.items() if findings)


def find_common(phrase: str, evidence: EvidencePair) -> Finding | None:
    """The finding of all claims about an object; None if they differ."""
    findings = {item.finding for item in (*evidence.A, *evidence.B) if item.phrase == phrase}
    return next(iter(findings)) if len(findings) == 1 else None
