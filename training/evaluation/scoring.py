"""From verdicts on labelled pairs to accuracy and behaviour: per order, over both, and with what could not be read.

An `Outcome` says how one pair was judged, whoever judged it and in however many readings, so that our verdicts and
other people's published outputs are counted by the same code. A tie counts one half. An unparsed answer is no answer;
what it counts for is a convention, and all three are reported: `dropped` (it leaves the denominator), `wrong`, `half`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from genrm.types import Response, Verdict
from training.ratios import Ratio
from training.sources import Pair
from training.statistics import Estimate, bootstrap_macro_mean, bootstrap_mean, share_with_interval

Convention = Literal["dropped", "wrong", "half"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one pair was judged.

    given, exchanged: what each reading gives the better response, in [0, 1], with the responses as the source has
    them and exchanged; None for one that was not parsed. verdict: 1 right, 0.5 tie, 0 wrong, None abstained.
    """

    group: str
    label: Response
    given: tuple[float | None, ...]
    exchanged: tuple[float | None, ...]
    verdict: float | None
    consistent: bool | None


def score(pair: Pair, verdict: Verdict) -> float | None:
    """1 right, 0.5 tie, 0 wrong, None abstained."""
    if verdict.status == "abstained":
        return None
    return 0.5 if verdict.status == "tie" else float(verdict.preferred == pair.label)


def make_outcome(pair: Pair, verdict: Verdict) -> Outcome:
    """The outcome of one of our verdicts."""

    def read(first: Response) -> tuple[float | None, ...]:
        found = [reading.probabilities for reading in verdict.readings if reading.first == first]
        return tuple(None if p is None else (p.A if pair.label == "A" else p.B) for p in found)

    return Outcome(
        group=pair.group,
        label=pair.label,
        given=read("A"),
        exchanged=read("B"),
        verdict=score(pair, verdict),
        consistent=verdict.consistent,
    )


def score_orders(*orders: Sequence[float | None]) -> tuple[float | None, ...]:
    """For each order that was read: 1, 0.5 or 0 by the mean of its parsed readings, None if none was parsed."""
    known = [[value for value in readings if value is not None] for readings in orders if readings]
    return tuple(_decide(sum(values) / len(values)) if values else None for values in known)


MEASURES: dict[str, Callable[[Outcome], tuple[float | None, ...]]] = {
    "verdict over both orders": lambda outcome: (outcome.verdict,),
    "mean of the orders": lambda outcome: score_orders(outcome.given, outcome.exchanged),
    "order as given": lambda outcome: score_orders(outcome.given),
    "order exchanged": lambda outcome: score_orders(outcome.exchanged),
}
"""What accuracy can mean: for each, the scores of a pair that are averaged."""


def measure_accuracy(
    outcomes: Sequence[Outcome], measure: str, convention: Convention, *, seed: int = 0
) -> dict[str, Estimate]:
    """Accuracy of one of `MEASURES`: over all pairs (micro), as the mean of the groups (macro), and per group."""
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        each = _apply_convention(MEASURES[measure](outcome), convention)
        values.setdefault(outcome.group, []).extend([float(np.mean(each))] if each else [])
    everything = [value for group in values.values() for value in group]
    sections = {"overall (micro)": bootstrap_mean(everything, seed=seed)}
    if len(values) > 1:
        sections["overall (macro)"] = bootstrap_macro_mean(values, seed=seed)
        sections |= {name: bootstrap_mean(values[name], seed=seed) for name in sorted(values)}
    return sections


def measure_behaviour(outcomes: Sequence[Outcome], *, seed: int = 0) -> dict[str, Estimate]:
    """How often orders agree, the first position wins, and an answer could not be parsed. The last two are shares of
    readings; those of one pair are not independent, so their intervals are bootstrapped over pairs.
    """
    consistent = [outcome.consistent for outcome in outcomes if outcome.consistent is not None]
    first, unparsed = Ratio(), Ratio()
    for number, outcome in enumerate(outcomes):
        for values, is_first in ((outcome.given, outcome.label == "A"), (outcome.exchanged, outcome.label == "B")):
            for value in values:
                unparsed.add(str(number), float(value is None))
                if value is not None:
                    first.add(str(number), _decide(value if is_first else 1 - value))
    return {
        "consistency": share_with_interval(sum(consistent), len(consistent)),
        "first-position rate": first.estimate(seed=seed),
        "unparsed rate": unparsed.estimate(seed=seed),
    }


def find_confidences(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> tuple[np.ndarray, np.ndarray]:
    """Top probability and whether it was right (a tie half), of all verdicts that have probabilities."""
    found = [
        (max(p.A, p.B), _decide(p.A if pair.label == "A" else p.B))
        for pair, verdict in zip(pairs, verdicts, strict=True)
        if (p := verdict.probabilities) is not None
    ]
    values = np.array(found, dtype=float).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def prefer_shorter(pair: Pair) -> float:
    """1 if the response with fewer words is the better one, 0 if it is not, 0.5 if they have as many."""
    a, b = count_words(pair.response_a), count_words(pair.response_b)
    return _decide(0.5 + 0.25 * np.sign(b - a if pair.label == "A" else a - b))


def count_words(text: str) -> int:
    """Words of a text, by white space."""
    return len(text.split())


def _decide(probability: float) -> float:
    return 0.5 if probability == 0.5 else float(probability > 0.5)


def _apply_convention(scores: Sequence[float | None], convention: Convention) -> list[float]:
    if convention == "dropped":
        return [value for value in scores if value is not None]
    return [(0.0 if convention == "wrong" else 0.5) if value is None else value for value in scores]
