"""The margin of a sampled critique, and which critiques rejection sampling keeps.

    m(c) = ½ · (2 P(chosen | c) − 1) + ½ · mean over the other order's critiques c' of (2 P(chosen | c') − 1)

P is the verdict's probability behind a critique; a critique without a verdict counts as 0 in the mean. So m is in
[−1, 1], and high only where the judge is right in both orders: a critique that happens to be right where the other
order goes wrong is no evidence of judgement. VL-GenRM names the margin and leaves its formula open; this is ours.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from genrm.types import Response

Preference = Literal["margin", "shortest", "random"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One sampled critique. probability: of the gold verdict behind it; None without a verdict."""

    pair_id: str
    group: str
    label: Response
    first: Response
    text: str
    probability: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A critique with its margin, in [−1, 1]."""

    drawn: Drawn
    margin: float


def score_margins(drawn: Sequence[Drawn]) -> list[Scored]:
    """Margins of all critiques that end with a verdict. drawn: all of one pair, both orders."""
    means = {first: _mean([_lead(item.probability) for item in drawn if item.first == first]) for first in ("A", "B")}
    return [
        Scored(drawn=item, margin=(_lead(item.probability) + means["B" if item.first == "A" else "A"]) / 2)
        for item in drawn
        if item.probability is not None
    ]


def passes(item: Scored, threshold: float) -> bool:
    """Whether a critique is right and its margin reaches the threshold."""
    return (item.drawn.probability or 0.0) > 0.5 and item.margin >= threshold


def select(
    scored: Sequence[Scored], *, threshold: float, per_order: int, prefer: Preference, group_cap: float, seed: int
) -> list[Scored]:
    """Critiques to learn from: right, of margin ≥ threshold, at most `per_order` different ones per pair and order.

    Then balanced: in every group as many for which the first response is better as the second, and no group more than
    `group_cap` times as many as the smallest one. If that leaves less than half of them, the log says why.
    """
    rng = random.Random(seed)
    kept: list[Scored] = []
    for items in _by_pair_and_order(scored).values():
        different = list({s.drawn.text: s for s in items if passes(s, threshold)}.values())
        rng.shuffle(different)
        if prefer == "margin":
            different.sort(key=lambda s: -s.margin)
        elif prefer == "shortest":
            different.sort(key=lambda s: len(s.drawn.text))
        kept += different[:per_order]
    rng.shuffle(kept)
    return _balance(kept, group_cap=group_cap)


def mean_probability(drawn: Sequence[Drawn]) -> float | None:
    """The judge's present probability of the gold verdict of one pair, mean over its readings; None without any."""
    known = [item.probability for item in drawn if item.probability is not None]
    return sum(known) / len(known) if known else None


def _balance(items: Sequence[Scored], *, group_cap: float) -> list[Scored]:
    """The first items of each group, as many of one label as of the other."""
    halves: dict[str, tuple[list[Scored], list[Scored]]] = {}
    for item in items:
        halves.setdefault(item.drawn.group, ([], []))[item.drawn.label == item.drawn.first].append(item)
    sizes = {group: min(map(len, both)) for group, both in halves.items()}
    smallest = min((group for group in sizes if sizes[group]), key=lambda group: sizes[group], default="")
    most = round(group_cap * sizes.get(smallest, 0))
    kept = [item for group, both in halves.items() for half in both for item in half[: min(sizes[group], most)]]
    if 2 * len(kept) < len(items):
        _log.warning(
            "Of %d critiques that passed, balance between the labels leaves %d, and group_cap %g leaves %d: the "
            "smallest group, %r, has %d. Raise group_cap, or give every group more pairs.",
            len(items), 2 * sum(sizes.values()), group_cap, len(kept), smallest, 2 * sizes.get(smallest, 0),
        )  # fmt: skip
    return kept


def _by_pair_and_order(scored: Sequence[Scored]) -> dict[tuple[str, Response], list[Scored]]:
    groups: dict[tuple[str, Response], list[Scored]] = {}
    for item in scored:
        groups.setdefault((item.drawn.pair_id, item.drawn.first), []).append(item)
    return groups


def _lead(probability: float | None) -> float:
    return 0.0 if probability is None else 2 * probability - 1


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
