"""Whether what a critique says it sees is what experts found: O*(I) of VL-GenRM, asked about critiques.

A critique may reach the right verdict on a look at the picture that was wrong: who learns from it learns to look badly.
The filters of the paper (arXiv 2506.13888) ask experts about the responses; that a critique which they contradict is
not learned from either is ours, and what it brings is in docs/design/judge-training.md.

Read clause by clause. A clause about the responses ("the first says …") quotes and is not checked. Of another one, the
objects that experts were asked about are: with places ("a dog: upper left"), these must be where the experts see one,
all of them and no others, since a look-up that leaves one out misleads a count; without places, whether and how many
there are must agree. Colours, texts and whatever no expert was asked about are not checked.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from experts.claims import Claim, extract_claims, find_mentions
from genrm.prompts import FIRST, PLACES, SECOND
from genrm.types import Sighting

_CLAUSE_END = re.compile(r"[.;\n]+(?=\s|$)")
_QUOTING = re.compile(rf"\b(?:{FIRST}|{SECOND}|responses?|claims?|says?|said|states?)\b", re.IGNORECASE)
_PLACE = re.compile(
    rf"\b({'|'.join(PLACES)})\b".replace("upper", "(?:upper|top)").replace("lower", "(?:lower|bottom)"), re.IGNORECASE
)
_NONE = re.compile(r"\bnone\b", re.IGNORECASE)


def contradicts_experts(critique: str, sightings: Sequence[Sighting]) -> bool:
    """Whether anything that the critique says by itself about the picture is not what the experts found.

    sightings: one per object that experts were asked about, places complete; none: nothing can be contradicted.
    """
    found = {sighting.phrase: sighting.places for sighting in sightings}
    return bool(found) and any(
        _clause_contradicts(clause, found) for clause in _CLAUSE_END.split(critique) if not _QUOTING.search(clause)
    )


def _clause_contradicts(clause: str, found: Mapping[str, Sequence[str]]) -> bool:
    mentioned = _mentions(clause)
    known = [name for name in mentioned if name in found]
    if not known:
        return False
    if not _PLACE.search(clause):
        if _NONE.search(clause) and len(known) == 1:
            return bool(found[known[0]])
        return any(_claim_contradicts(claim, found[claim.name]) for claim in _claims(clause) if claim.name in found)
    if len(mentioned) == 1:
        return Counter(_places(clause)) != Counter(found[known[0]])
    return any(_part_contradicts(part, found) for part in clause.split(","))


def _part_contradicts(part: str, found: Mapping[str, Sequence[str]]) -> bool:
    """Of a list of several objects: whether the one named is not at the place named with it."""
    known = [name for name in _mentions(part) if name in found]
    return len(known) == 1 and any(place not in found[known[0]] for place in _places(part))


def _claim_contradicts(claim: Claim, places: Sequence[str]) -> bool:
    if claim.polarity == "denied":
        return bool(places) and not claim.is_narrower
    if claim.is_exact and not claim.is_narrower and claim.count is not None:
        return len(places) != claim.count
    return len(places) < (claim.count or 1)


def _places(text: str) -> list[str]:
    return [place.lower().replace("top", "upper").replace("bottom", "lower") for place in _PLACE.findall(text)]


@lru_cache(maxsize=4096)  # sampled critiques repeat each other's clauses
def _mentions(text: str) -> tuple[str, ...]:
    return find_mentions(text)


@lru_cache(maxsize=4096)
def _claims(text: str) -> tuple[Claim, ...]:
    return extract_claims(text)
