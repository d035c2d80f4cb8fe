"""A figure and its 95 % interval, as reports hold it and plots draw it; `training.statistics` makes more of them."""

from typing import TypedDict

_NORMAL_95 = 1.959963984540054


class Estimate(TypedDict):
    """A figure with its 95 % interval, ready for JSON. num: items it rests on; of none the value is not a number."""

    value: float
    low: float
    high: float
    num: int


class ReliabilityBin(TypedDict):
    """Mean confidence, accuracy and size of one bin of verdicts."""

    confidence: float
    accuracy: float
    num: int


def share_with_interval(successes: float, num: int) -> Estimate:
    """The share of successes with its Wilson score interval; successes may be halves (ties)."""
    if num == 0:
        return Estimate(value=float("nan"), low=0.0, high=1.0, num=0)
    share, z2 = successes / num, _NORMAL_95**2
    centre = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = _NORMAL_95 / (1 + z2 / num) * (share * (1 - share) / num + z2 / (4 * num**2)) ** 0.5
    return Estimate(value=share, low=max(0.0, centre - half), high=min(1.0, centre + half), num=num)
