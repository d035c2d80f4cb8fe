"""The few statistics that reports stand on: shares and means with 95 % intervals, and calibration.

Shares get Wilson's score interval. Means and differences get percentile bootstrap intervals over items, seeded, so that
a report is the same each time it is made. A difference is always paired: both sides were measured on the same items.
"""

from collections.abc import Mapping

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
    "reliability_bins",
    "share_with_interval",
]

NUM_BINS = 10
NUM_RESAMPLES = 2_000
TAILS = (2.5, 97.5)
_RESAMPLES_AT_ONCE = 100
"""Bounds the memory of a bootstrap to this many times the data."""


def bootstrap_mean(values: ArrayLike, *, seed: int = 0) -> Estimate:
    """The mean of some values with its bootstrap interval."""
    return bootstrap_macro_mean({"all": values}, seed=seed)


def bootstrap_macro_mean(groups: Mapping[str, ArrayLike], *, seed: int = 0) -> Estimate:
    """The mean of the groups' means; items are drawn anew within each group. Groups without items are left out."""
    arrays = [array for array in (np.asarray(values, dtype=float) for values in groups.values()) if array.size]
    num = sum(array.size for array in arrays)
    if not num:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), num=0)
    rng = np.random.default_rng(seed)
    means = np.mean([_resampled_means(array, rng) for array in arrays], axis=0)
    low, high = np.percentile(means, TAILS)
    value = float(np.mean([array.mean() for array in arrays]))
    return Estimate(value=value, low=float(low), high=float(high), num=num)


def bootstrap_difference(ones: ArrayLike, others: ArrayLike, *, seed: int = 0) -> Estimate:
    """Mean of `ones` − mean of `others`, two measurements of the same items in the same order, bootstrapped over
    items. Raises ValueError if they are not as many.
    """
    first, second = np.asarray(ones, dtype=float), np.asarray(others, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} and {second.size} values are no pairs; measure both on the same items.")
    return bootstrap_mean(first - second, seed=seed)


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
