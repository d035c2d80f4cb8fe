"""Which verdicts become preference rows: decided ones that are sure, agree in both orders and no expert contradicts.

Every verdict that does not is dropped with one reason, the first that applies, so that the reasons add up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from genrm.evidence import find_failure
from genrm.types import Verdict
from training.jobs.config import Section


class KeepRules(Section):
    """What a verdict must be like."""

    min_margin: float = Field(0.3, ge=0, le=1, description="Least |P(A) − P(B)|, averaged over both orders.")
    consistent: bool = Field(default=True, description="Both orders must prefer the same response.")
    experts: bool = Field(
        default=True, description="Vision experts, where used, must have answered and not contradict the verdict."
    )
    pairs_per_row: int = Field(
        1, ge=1, description="Pairs kept of a row with more than two answers, widest margins first."
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A pair of answers of a row and what the judge says. first, second: their places; A is the first."""

    row_id: str
    first: int
    second: int
    verdict: Verdict

    @property
    def id(self) -> str:
        """A name for the pair."""
        return f"{self.row_id}#{self.first}-{self.second}"

    @property
    def width(self) -> float:
        """How far apart the two are."""
        return abs(self.verdict.margin or 0.0)


def find_reason(verdict: Verdict, rules: KeepRules) -> str | None:
    """Why a verdict is no preference; None if it is one."""
    if verdict.status == "abstained":
        return f"abstained: {verdict.reason or 'unknown'}"
    if verdict.status == "tie":
        return "tie"
    if rules.consistent and verdict.consistent is not True:
        return "orders disagree"
    if rules.experts and verdict.expert_conflict:
        return "experts contradict"
    if rules.experts and find_failure(verdict.warnings) is not None:
        return "experts failed"  # whether they contradict is not known
    if abs(verdict.margin or 0.0) < rules.min_margin:
        return "margin too small"
    return None


def choose(labelled: Sequence[Labelled], rules: KeepRules) -> tuple[list[Labelled], list[tuple[Labelled, str]]]:
    """The pairs of one row that are kept, widest first, and the dropped ones with their reasons."""
    kept: list[Labelled] = []
    dropped: list[tuple[Labelled, str]] = []
    for one in sorted(labelled, key=lambda each: (-each.width, each.first, each.second)):
        reason = find_reason(one.verdict, rules)
        if reason is None and len(kept) == rules.pairs_per_row:
            reason = "over the cap of pairs per row"
        if reason is None:
            kept.append(one)
        else:
            dropped.append((one, reason))
    return kept, dropped
