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
    return find_contradiction(critique, sightings) is not None


def find_contradiction(critique: str, sightings: Sequence[Sighting]) -> tuple[int, int] | None:
    """Begin and end of the first clause that the experts contradict, without what ends it; None if there is none.

    sightings: as for `contradicts_experts`.
    """
    found = {sighting.phrase: sighting.places for sighting in sightings}
    if not found:
        return None
    begin = 0
    for end, next_begin in [*(match.span() for match in _CLAUSE_END.finditer(critique)), (len(critique),) * 2]:
        clause = critique[begin:end]
        if not _QUOTING.search(clause) and _clause_contradicts(clause, found):
            return begin, end
        begin = next_begin
    return None


def correct_clause(clause: str, sightings: Sequence[Sighting]) -> str | None:
    """A look-up of one object with what the experts found of it in place of what it says: of "Seen dog: none" for
    instance "Seen dog: 1 upper left, 2 lower center".

    None for a clause that is no such look-up, an object, a colon, and places or "none" behind it: prose cannot be set
    right by rule.
    """
    head, colon, listed = clause.partition(":")
    known = {sighting.phrase: sighting.places for sighting in sightings}
    mentioned = _mentions(head)
    is_look_up = bool(colon) and len(mentioned) == 1 and mentioned[0] in known and not _mentions(listed)
    if not is_look_up or not (_PLACE.search(listed) or _NONE.search(listed)):
        return None
    places = known[mentioned[0]]
    return f"{head}: " + (", ".join(f"{number} {place}" for number, place in enumerate(places, 1)) or "none")


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
