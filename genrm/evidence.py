"""What a judge asks of vision experts, as a contract: a comparison in, evidence out.

The experts themselves are in the package `experts`, which stands on this one; a judge without them works as well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from genrm.types import Comparison, Evidence, EvidencePair, Response, Sighting, mean_support

ExpertUse = Literal["off", "evidence", "prompt", "combine"]
"""`off`: no expert is asked. `evidence`: evidence comes with the verdict only. `prompt`: the judge reads it as well.
`combine`: the judge does not read it, and its log-odds are added to the judge's."""

LEAST_PROBABILITY = 1e-3
"""A claim counts as no less probable than this: no expert is so good that one claim should settle every comparison."""
MAX_EVIDENCE_LOG_ODDS = 30.0
"""Nats. Evidence adds no more than this, whatever the number of claims."""

CLAIMS_UNREAD = "The claims of a text could not be read; nothing of it was checked. The log has the reason."
OBJECTS_UNCHECKED = "What it alone would have checked is unchecked."
STATEMENTS_UNCHECKED = "It checked no statement."
"""How warnings end that say that an expert failed or was too slow; asked again, it may answer."""

CONFLICT_SUPPORT = 0.25
"""How much better the other response must be supported before a verdict is said to be in conflict with the experts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """What the experts found about a comparison.

    sightings: what goes into the prompt, the same for both orders and independent of which response is A. warnings: one
    per expert that failed or was too slow (see `find_failure`), and what was left unchecked. seconds: wall time.
    """

    evidence: EvidencePair = field(default_factory=EvidencePair)
    sightings: tuple[Sighting, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


class Verifier(Protocol):
    """Checks what responses claim against the image. Never raises for an expert that fails: its part is unchecked."""

    async def examine(self, comparison: Comparison) -> Examination:
        """Evidence for both responses."""

    async def examine_all(self, comparisons: Sequence[Comparison]) -> list[Examination]:
        """As `examine`, for comparisons about the same images, at least one: they are looked at once."""


def find_failure(warnings: Sequence[str]) -> str | None:
    """The first warning, of a verdict or an examination, that says that an expert failed; None if all answered."""
    endings = (CLAIMS_UNREAD, OBJECTS_UNCHECKED, STATEMENTS_UNCHECKED)
    return next((warning for warning in warnings if warning.endswith(endings)), None)


def support_lead(evidence: EvidencePair) -> float:
    """By how much response A is supported better than B, in [−1, 1]; 0 where either has nothing that was checked."""
    a, b = mean_support(evidence.A), mean_support(evidence.B)
    return 0.0 if a is None or b is None else a - b


def evidence_log_odds(evidence: EvidencePair) -> float:
    """What the checked claims say for response A and against B, in nats, at most `MAX_EVIDENCE_LOG_ODDS` in size.

    A claim that is likelier false than not counts against its response by ln(P(true) / ½). What experts confirm counts
    nothing: neither saying little nor listing what is there makes a response better. Unlike `support_lead` it grows
    with the number of wrong claims. Claims that both make cancel; 0 where nothing was checked.
    """
    lead = _weigh_claims(evidence.A) - _weigh_claims(evidence.B)
    return max(-MAX_EVIDENCE_LOG_ODDS, min(MAX_EVIDENCE_LOG_ODDS, lead))


def _weigh_claims(claims: Sequence[Evidence]) -> float:
    """At most 0; the order of the claims changes nothing."""
    return math.fsum(
        min(0.0, math.log(2 * max(claim.probability, LEAST_PROBABILITY)))
        for claim in claims
        if claim.probability is not None
    )


def find_better_supported(evidence: EvidencePair) -> Response | None:
    """The response that the experts alone prefer; None if they see no difference or checked only one of them."""
    lead = support_lead(evidence)
    return None if lead == 0 else "A" if lead > 0 else "B"


def is_conflict(evidence: EvidencePair, preferred: Response | None) -> bool:
    """Whether the experts support the response that was not preferred clearly better."""
    if preferred is None:
        return False
    lead = support_lead(evidence)
    return (-lead if preferred == "A" else lead) >= CONFLICT_SUPPORT
