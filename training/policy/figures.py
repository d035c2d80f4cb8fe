"""Figures of a policy as ratios of sums over images, so that all get intervals and paired differences the same way.

Accuracy, precision, recall, F1, yes ratio, CHAIR and mean length are all a sum over items divided by another one. Items
of one image are not independent; so sums are kept per image, and images are what a bootstrap draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from training.statistics import NUM_RESAMPLES, TAILS, Estimate, share_with_interval

Parts = Mapping[str, Sequence[float]]
"""By image: sum of the numerators, sum of the denominators, number of items."""

_AT_ONCE = 100
"""Resamples at a time: bounds memory."""


@dataclass(slots=True)
class Ratio:
    """A figure that grows item by item."""

    parts: dict[str, list[float]] = field(default_factory=dict)

    def add(self, image: str, numerator: float, denominator: float = 1.0) -> None:
        """Count one item of an image."""
        part = self.parts.setdefault(image, [0.0, 0.0, 0.0])
        part[0] += numerator
        part[1] += denominator
        part[2] += 1

    def estimate(self, *, seed: int = 0) -> Estimate:
        """See `estimate_ratio`."""
        return estimate_ratio(self.parts, seed=seed)


def estimate_ratio(parts: Parts, *, seed: int = 0) -> Estimate:
    """The ratio with its 95 % interval: Wilson's for one right or wrong item per image, else bootstrapped over images.

    A share of 0 or 1 in every image, in which a bootstrap would see no doubt, gets Wilson's for so many images. num:
    the items. Without anything in the denominator the value is not a number.
    """
    tops, bottoms, counts = _arrays(parts, sorted(parts))
    num = int(counts.sum())
    if not bottoms.sum():
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), num=0)
    if np.all(bottoms == 1) and np.all(counts == 1) and np.all((tops == 0) | (tops == 1)):
        return share_with_interval(float(tops.sum()), num)
    if not tops.any() or np.array_equal(tops, bottoms):
        num_images = int(np.count_nonzero(bottoms))
        same = share_with_interval(num_images if tops.any() else 0, num_images)
        return Estimate(value=same["value"], low=same["low"], high=same["high"], num=num)
    low, high = _interval(_resample(tops, bottoms, seed=seed))
    return Estimate(value=float(tops.sum() / bottoms.sum()), low=low, high=high, num=num)


def estimate_difference(ones: Parts, others: Parts, *, seed: int = 0) -> Estimate:
    """The first ratio minus the second, over the images that both have, which are drawn together.

    num: the items of `ones` among them; 0, and no number, if there are none.
    """
    common = sorted(ones.keys() & others.keys())
    top, bottom, counts = _arrays(ones, common)
    other_top, other_bottom, _ = _arrays(others, common)
    if not bottom.sum() or not other_bottom.sum():
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), num=0)
    drawn = _resample(top, bottom, seed=seed) - _resample(other_top, other_bottom, seed=seed)
    low, high = _interval(drawn)
    value = float(top.sum() / bottom.sum() - other_top.sum() / other_bottom.sum())
    return Estimate(value=value, low=low, high=high, num=int(counts.sum()))


def _arrays(parts: Parts, images: Sequence[str]) -> np.ndarray:
    """Numerators, denominators and counts of these images, shape (3, N)."""
    values: np.ndarray = np.array([list(parts[image]) for image in images], dtype=float).reshape(-1, 3).T
    return values


def _resample(tops: np.ndarray, bottoms: np.ndarray, *, seed: int) -> np.ndarray:
    """Ratios of samples of the images with replacement; the same images for the same seed and number of images."""
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
