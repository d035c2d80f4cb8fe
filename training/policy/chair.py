"""Object hallucination in captions, after CHAIR (arXiv 1809.02156): objects that are named and are not there.

CHAIR_s is the share of captions that name such an object, CHAIR_i the share of the named objects that are such.
Coverage, which silence would lower, is the share of the objects in the image that a caption names. Objects are read off
a caption by the lexicon and the rules that also serve the experts, so that "no dog" names no dog.

Ours: an object counts once per caption, however often it is named, and names that the lexicon does not know count
nowhere. Where a row does not say what is in its image, vision experts do; what they cannot check is left out, and
coverage is unknown.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experts.claims import Claim, extract_claims
from experts.lexicon import Lexicon, default_lexicon
from genrm.types import Evidence
from training.ratios import Ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionCheck:
    """What one caption says of objects.

    named: objects that it says are there, of those that could be checked. absent: those of them that are not.
    num_there, num_covered: kinds of objects in the image, and how many of them it names; None where nobody knows.
    num_claims, num_true: its statements that objects are there, are not, or are so many, and the true ones among them.
    """

    named: tuple[str, ...]
    absent: tuple[str, ...]
    num_there: int | None
    num_covered: int | None
    num_claims: int
    num_true: int
    num_words: int


def count_objects(names: Iterable[str], lexicon: Lexicon | None = None) -> Counter[str]:
    """How many there are of each object, by the lexicon's names; objects that it does not know are left out."""
    lexicon = lexicon or default_lexicon()
    return Counter(name for name in map(lexicon.canonical_name, names) if name is not None)


def check_by_objects(caption: str, there: Counter[str], lexicon: Lexicon | None = None) -> CaptionCheck:
    """Compare a caption with what is in the image. there: of `count_objects`."""
    claims = [claim for claim in extract_claims(caption, lexicon) if claim.polarity == "affirmed" or _is_whole(claim)]
    named = tuple(claim.name for claim in claims if claim.polarity == "affirmed")
    return CaptionCheck(
        named=named,
        absent=tuple(name for name in named if not there[name]),
        num_there=len(there),
        num_covered=len(there.keys() & set(named)),
        num_claims=len(claims),
        num_true=sum(_is_true(claim, there[claim.name]) for claim in claims),
        num_words=len(caption.split()),
    )


def check_by_evidence(caption: str, evidence: Sequence[Evidence]) -> CaptionCheck:
    """Take what experts found of each claim of a caption for the truth; statements are no claims about objects."""
    checked = [item for item in evidence if item.kind == "object" and item.finding != "unchecked"]
    named = [item for item in checked if item.polarity == "affirmed"]
    return CaptionCheck(
        named=tuple(item.phrase for item in named),
        absent=tuple(item.phrase for item in named if item.finding == "unsupported"),
        num_there=None,
        num_covered=None,
        num_claims=len(checked),
        num_true=sum(item.finding == "supported" for item in checked),
        num_words=len(caption.split()),
    )


def measure_captions(checks: Iterable[tuple[str, CaptionCheck]]) -> dict[str, Ratio]:
    """CHAIR, coverage, truth of all statements, and length. checks: by identity of the image."""
    figures = {name: Ratio() for name in ("CHAIR_s", "CHAIR_i", "coverage", "statements true", "words")}
    for image, check in checks:
        figures["CHAIR_s"].add(image, bool(check.absent))
        figures["CHAIR_i"].add(image, len(check.absent), len(check.named))
        figures["statements true"].add(image, check.num_true, check.num_claims)
        figures["words"].add(image, check.num_words)
        if check.num_there is not None and check.num_covered is not None:
            figures["coverage"].add(image, check.num_covered, check.num_there)
    return figures


def _is_whole(claim: Claim) -> bool:
    """Whether it speaks of all objects of its name: "no puppy" leaves other dogs open."""
    return not claim.is_narrower


def _is_true(claim: Claim, number: int) -> bool:
    if claim.polarity == "denied":
        return number == 0
    if claim.is_exact and not claim.is_narrower:
        return number == claim.count
    return number >= (claim.count or 1)
