"""The few statistics that reports stand on: shares and means with 95 % intervals, and calibration.

Shares get Wilson's score interval. Means and differences get percentile bootstrap intervals over items, seeded, so that
a report is the same each time it is made. A difference is always paired: both sides were measured on the same items.

A bootstrap sees no doubt in values that are all the same, as twelve right of twelve or a single one. If they are scores
in [0, 1], they get `interval_of_the_same`, which is Wilson's where all are right or all are wrong.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from genrm.estimates import Estimate, ReliabilityBin, share_with_interval

__all__ = [
    "NUM_BINS",
    "NUM_RESAMPLES",
    "TAILS",
    "Estimate",
    "ReliabilityBin",
    "bootstrap_calibration_error",
    "bootstrap_difference",
    "bootstrap_macro_mean",
    "bootstrap_mean",
    "expected_calibration_error",
    "interval_of_the_same",
    "reliability_bins",
    "share_with_interval",
]

NUM_BINS = 10
NUM_RESAMPLES = 2_000
TAILS = (2.5, 97.5)
_ROUNDING = 1e-9
_RESAMPLES_AT_ONCE = 100
"""Bounds the memory of a bootstrap to this many times the data."""


def interval_of_the_same(value: float, num: int, *, lowest: float = 0.0, highest: float = 1.0) -> Estimate:
    """The mean of `num` values, at least one, that all are `value`, with its interval. lowest, highest: of any value.

    Wilson's upper bound of none in `num` is z² / (num + z²). So large a share of all values may differ from what was
    seen, and be anything from lowest to highest. For 0 and 1 in [0, 1] this is Wilson's interval itself.
    """
    others = share_with_interval(0, num)["high"]
    low, high = value - others * (value - lowest), value + others * (highest - value)
    return Estimate(value=value, low=low, high=high, num=num)


def are_the_same(values: np.ndarray) -> bool:
    """Whether all values, at least one, are the same but for rounding."""
    return float(np.ptp(values)) <= _ROUNDING


def bootstrap_mean(values: ArrayLike, *, seed: int = 0) -> Estimate:
    """The mean of some values with its bootstrap interval; for scores that are all the same, see the module."""
    return bootstrap_macro_mean({"all": values}, seed=seed)


def bootstrap_macro_mean(groups: Mapping[str, ArrayLike], *, seed: int = 0) -> Estimate:
    """The mean of the groups' means; items are drawn anew within each group. Groups without items are left out.

    With a group of the same values in [0, 1], the distances of the groups' bounds from their means are added in
    quadrature (Zou and Donner's MOVER, doi:10.1002/sim.3095) in place of the draws.
    """
    arrays = [np.asarray(values, dtype=float) for values in groups.values()]
    return _macro_mean(arrays, bounds=(0.0, 1.0) if all(map(_are_scores, arrays)) else None, seed=seed)


def bootstrap_difference(ones: ArrayLike, others: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean of `ones` − mean of `others`, two measurements of the same items in the same order, bootstrapped over
    items. Raises ValueError if they are not as many.

    Where both are scores in [0, 1], differences that are all the same get `interval_of_the_same` on [−1, 1]: no change
    in any of n items is 0 ± Wilson's upper bound of none in n.
    """
    first, second = np.asarray(ones, dtype=float), np.asarray(others, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} and {second.size} values are no pairs; measure both on the same items.")
    bounds = (-1.0, 1.0) if _are_scores(first) and _are_scores(second) else None
    return _macro_mean([first - second], bounds=bounds, seed=seed)


def _macro_mean(groups: Sequence[np.ndarray], *, bounds: tuple[float, float] | None, seed: int) -> Estimate:
    """bounds: lowest and highest of any value; None where they are not known, and the same values leave no doubt."""
    arrays = [array for array in groups if array.size]
    num = sum(array.size for array in arrays)
    if not num:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), num=0)
    rng = np.random.default_rng(seed)
    drawn = [_resampled_means(array, rng) for array in arrays]
    value = float(np.mean([array.mean() for array in arrays]))
    if bounds is None or not any(map(are_the_same, arrays)):
        low, high = np.percentile(np.mean(drawn, axis=0), TAILS)
        return Estimate(value=value, low=float(low), high=float(high), num=num)
    below, above = np.transpose([_distances(*each, bounds=bounds) for each in zip(arrays, drawn, strict=True)])
    return Estimate(
        value=value,
        low=max(bounds[0], value - float(np.hypot.reduce(below)) / len(arrays)),
        high=min(bounds[1], value + float(np.hypot.reduce(above)) / len(arrays)),
        num=num,
    )


def _distances(values: np.ndarray, drawn: np.ndarray, *, bounds: tuple[float, float]) -> tuple[float, float]:
    """How far the interval of a group's mean reaches below and above it. drawn: means of its resamples."""
    centre = float(values.mean())
    if are_the_same(values):
        same = interval_of_the_same(centre, values.size, lowest=bounds[0], highest=bounds[1])
        return centre - same["low"], same["high"] - centre
    low, high = np.percentile(drawn, TAILS)
    return centre - float(low), float(high) - centre


def _are_scores(values: np.ndarray) -> bool:
    return bool(np.all((values >= 0) & (values <= 1)))


def expected_calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """ECE over ten equal-width bins of [0.5, 1]: mean |accuracy − confidence|, weighted by bin size, in [0, 1]."""
    gaps = np.bincount(_bin_of(confidences), weights=right - confidences, minlength=NUM_BINS)
    return float(np.abs(gaps).sum() / max(len(confidences), 1))


def bootstrap_calibration_error(confidences: np.ndarray, right: np.ndarray, *, seed: int = 0) -> Estimate:
    """ECE with its bootstrap interval.

    Resampling adds noise to every bin and ECE counts noise as error, so the resampled values lie too high; the interval
    is moved by that bias (the basic bootstrap's correction of its centre), and never below 0.
    """
    num = len(confidences)
    if not num:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), num=0)
    value, rng = expected_calibration_error(confidences, right), np.random.default_rng(seed)
    draws = (rng.integers(num, size=num) for _ in range(NUM_RESAMPLES))
    errors = np.array([expected_calibration_error(confidences[draw], right[draw]) for draw in draws])
    low, high = np.percentile(errors, TAILS) - (errors.mean() - value)
    return Estimate(value=value, low=max(0.0, float(low)), high=float(high), num=num)


def reliability_bins(confidences: np.ndarray, right: np.ndarray) -> list[ReliabilityBin]:
    """Mean confidence, accuracy and size of each bin that is not empty."""
    index = _bin_of(confidences)
    return [
        ReliabilityBin(
            confidence=float(confidences[index == number].mean()),
            accuracy=float(right[index == number].mean()),
            num=int((index == number).sum()),
        )
        for number in np.unique(index)
    ]


def _bin_of(confidences: np.ndarray) -> np.ndarray:
    bins: np.ndarray = np.clip(((confidences - 0.5) * 2 * NUM_BINS).astype(int), 0, NUM_BINS - 1)
    return bins


def _resampled_means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of `NUM_RESAMPLES` samples with replacement, as many values each as there are.

    How often each distinct value is drawn is multinomial, which is the same law and quick for scores of few values.
    """
    distinct, counts = np.unique(values, return_counts=True)
    draws = [
        rng.multinomial(values.size, counts / values.size, size=_RESAMPLES_AT_ONCE) @ distinct
        for _ in range(NUM_RESAMPLES // _RESAMPLES_AT_ONCE)
    ]
    return np.concatenate(draws) / values.size
