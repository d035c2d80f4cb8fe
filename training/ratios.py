"""Figures as ratios of sums over what is drawn, so that all get intervals and paired differences the same way.

Accuracy, precision, recall, F1, yes ratio, CHAIR and mean length of a policy are all a sum over items divided by
another one, and so is the share of a judge's readings in which the first position wins. Items of one image, and
readings of one pair, are not independent; so sums are kept per image or pair, the *unit* that a bootstrap draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.statistics import (
    NUM_RESAMPLES,
    TAILS,
    Estimate,
    are_the_same,
    interval_of_the_same,
    share_with_interval,
)

Parts = Mapping[str, Sequence[float]]
"""By unit: sum of the numerators, sum of the denominators, number of items."""

_AT_ONCE = 100
"""Resamples at a time: bounds memory."""


@dataclass(slots=True)
class Ratio:
    """A figure that grows item by item."""

    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, unit: str, numerator: float, denominator: float = 1.0) -> None:
        """Count one item of an image or pair."""
        part = self.parts.setdefault(unit, [0.0, 0.0, 0.0])
        part[0] += numerator
        part[1] += denominator
        part[2] += 1

    def estimate(self, *, seed: int = 0) -> Estimate:
        """See `estimate_ratio`."""
        return estimate_ratio(self.parts, seed=seed)


def estimate_ratio(parts: Parts, *, seed: int = 0) -> Estimate:
    """The ratio with its 95 % interval: Wilson's for one right or wrong item per unit, else bootstrapped over units.

    A share that is the same in every unit, in which a bootstrap would see no doubt, gets `interval_of_the_same` for so
    many units. num: the items. Without anything in the denominator the value is not a number.
    """
    tops, bottoms, counts = _arrays(parts, sorted(parts))
    num = int(counts.sum())
    if not bottoms.sum():
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), num=0)
    if np.all(bottoms == 1) and np.all(counts == 1) and np.all((tops == 0) | (tops == 1)):
        return share_with_interval(float(tops.sum()), num)
    value, counted = float(tops.sum() / bottoms.sum()), bottoms > 0
    if _are_shares(tops, bottoms) and are_the_same(tops[counted] / bottoms[counted]):
        return interval_of_the_same(value, int(counted.sum())) | {"num": num}
    low, high = _interval(_resample(tops, bottoms, seed=seed))
    return Estimate(value=value, low=low, high=high, num=num)


def estimate_difference(ones: Parts, others: Parts, *, seed: int = 0) -> Estimate:
    """The first ratio minus the second, over the units that both have, which are drawn together.

    Shares whose difference is the same in every draw get `interval_of_the_same` on [−1, 1] for so many units. num: the
    items of `ones` among them; 0, and no number, if there are none.
    """
    common = sorted(ones.keys() & others.keys())
    top, bottom, counts = _arrays(ones, common)
    other_top, other_bottom, _ = _arrays(others, common)
    if not bottom.sum() or not other_bottom.sum():
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), num=0)
    drawn = _resample(top, bottom, seed=seed) - _resample(other_top, other_bottom, seed=seed)
    value, num = float(top.sum() / bottom.sum() - other_top.sum() / other_bottom.sum()), int(counts.sum())
    if _are_shares(top, bottom) and _are_shares(other_top, other_bottom) and are_the_same(drawn[~np.isnan(drawn)]):
        num_units = int(np.count_nonzero((bottom > 0) & (other_bottom > 0)))
        return interval_of_the_same(value, num_units, lowest=-1.0) | {"num": num}
    low, high = _interval(drawn)
    return Estimate(value=value, low=low, high=high, num=num)


def _are_shares(tops: np.ndarray, bottoms: np.ndarray) -> bool:
    return bool(np.all((tops >= 0) & (tops <= bottoms)))


def _arrays(parts: Parts, units: Sequence[str]) -> np.ndarray:
    """Numerators, denominators and counts of these units, shape (3, N)."""
    values: np.ndarray = np.array([list(parts[unit]) for unit in units], dtype=float).reshape(-1, 3).T
    return values


def _resample(tops: np.ndarray, bottoms: np.ndarray, *, seed: int) -> np.ndarray:
    """Ratios of samples of the units with replacement; the same units for the same seed and number of units."""
    rng = np.random.default_rng(seed)
    num, ratios = tops.size, []
    for _ in range(NUM_RESAMPLES // _AT_ONCE):
        drawn = rng.integers(num, size=(_AT_ONCE, num))
        below = bottoms[drawn].sum(1)
        ratios.append(np.divide(tops[drawn].sum(1), below, out=np.full(_AT_ONCE, np.nan), where=below > 0))
    return np.concatenate(ratios)


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(values, TAILS)
    return float(low), float(high)
