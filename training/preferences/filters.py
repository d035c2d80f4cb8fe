"""Which pairs the experts let pass: O*(I) of VL-GenRM, as evidence about claims instead of a set of names.

A pair is worth learning from if its rejected response is wrong and its chosen one is not. Only claims that differ
between the two can make one of them wrong, so only these are looked at in the rejected response.
"""

from collections.abc import Sequence
from typing import Literal

from genrm.types import Evidence, EvidencePair

Outcome = Literal["error-seen", "not-checkable", "error-is-in-image", "chosen-not-borne-out"]
"""Pairs of the first kind are good; of the second, if the error was made on purpose."""

_NOT_BORNE_OUT = ("unsupported", "contradicted")


def check_pair(evidence: EvidencePair) -> Outcome:
    """What the evidence says about a pair whose response A is the chosen one.

    `chosen-not-borne-out`: experts do not find what the chosen response claims. `error-is-in-image`: what only the
    rejected one claims is really there. `error-seen`: at least one claim of its own is not. `not-checkable`: no expert
    knows anything about its own claims.
    """
    if any(item.finding in _NOT_BORNE_OUT for item in evidence.A):
        return "chosen-not-borne-out"
    findings = {item.finding for item in _own_claims(evidence.B, evidence.A)} - {"unchecked"}
    if findings & {*_NOT_BORNE_OUT}:
        return "error-seen"
    return "error-is-in-image" if findings else "not-checkable"


def _own_claims(one: Sequence[Evidence], other: Sequence[Evidence]) -> list[Evidence]:
    shared = {_what_is_claimed(item) for item in other}
    return [item for item in one if _what_is_claimed(item) not in shared]


def _what_is_claimed(item: Evidence) -> tuple[object, ...]:
    return item.kind, item.phrase, item.polarity, item.count, item.place
