"""Ratios of sums over images: their values, intervals and paired differences."""

import math

import pytest

from training.ratios import Ratio, estimate_difference, estimate_ratio
from training.statistics import share_with_interval


def make_ratio(*items: tuple[str, float, float]) -> Ratio:
    ratio = Ratio()
    for image, numerator, denominator in items:
        ratio.add(image, numerator, denominator)
    return ratio


def test_a_share_of_single_items_has_wilsons_interval() -> None:
    ratio = make_ratio(*((str(number), float(number % 4 == 0), 1.0) for number in range(40)))
    assert ratio.estimate() == share_with_interval(10, 40)


def test_a_ratio_of_sums_is_no_mean_of_ratios() -> None:
    ratio = make_ratio(("a", 1, 1), ("b", 0, 3), ("c", 2, 4))
    estimate = ratio.estimate()
    assert estimate["value"] == 3 / 8
    assert 0 <= estimate["low"] < 3 / 8 < estimate["high"] <= 1
    assert estimate["num"] == 3


def test_items_of_one_image_are_drawn_together() -> None:
    """Twenty items in two images that agree within themselves say little more than two do."""
    together = make_ratio(*((image, float(image == "a"), 1.0) for image in "ab" for _ in range(10)))
    apart = make_ratio(*((f"{image}{number}", float(image == "a"), 1.0) for image in "ab" for number in range(10)))
    widths = [e["high"] - e["low"] for e in (together.estimate(), apart.estimate())]
    assert widths[0] > 2 * widths[1]


def test_what_is_the_same_everywhere_is_still_in_doubt() -> None:
    none = make_ratio(*((str(number), 0.0, 2.0) for number in range(10)))
    assert none.estimate()["value"] == 0
    assert none.estimate()["high"] == pytest.approx(share_with_interval(0, 10)["high"])
    every = make_ratio(*((str(number), 2.0, 2.0) for number in range(10)))
    assert every.estimate()["low"] == pytest.approx(share_with_interval(10, 10)["low"])


def test_a_half_in_every_pair_is_still_in_doubt() -> None:
    """As many pairs as Wilson's upper bound of none allows could be all 0 or all 1."""
    halves = make_ratio(*((str(number), float(item), 1.0) for number in range(10) for item in (0, 1))).estimate()
    bound = share_with_interval(0, 10)["high"]
    assert (halves["value"], halves["low"], halves["high"]) == pytest.approx((0.5, 0.5 - bound / 2, 0.5 + bound / 2))
    assert halves["num"] == 20


def test_nothing_in_the_denominator_is_no_number() -> None:
    estimate = make_ratio(("a", 0, 0)).estimate()
    assert math.isnan(estimate["value"])
    assert estimate["num"] == 0
    assert Ratio().estimate()["num"] == 0


def test_a_difference_is_paired_over_the_images_that_both_have() -> None:
    """Images are hard for both alike: values differ widely, differences do not."""
    before = make_ratio(*((str(number), number % 5, 10.0) for number in range(100)), ("only before", 0.0, 10.0))
    after = make_ratio(*((str(number), number % 5 + 1, 10.0) for number in range(100)), ("only after", 9.0, 10.0))
    difference = estimate_difference(after.parts, before.parts)
    assert difference["value"] == pytest.approx(0.1)
    bound, width = share_with_interval(0, 100)["high"], difference["high"] - difference["low"]
    assert width == pytest.approx(2 * bound)  # that the same change shows in all of them leaves this doubt
    assert width < 0.9 * (
        after.estimate()["high"] - after.estimate()["low"] + before.estimate()["high"] - before.estimate()["low"]
    )
    assert difference["num"] == 100
    assert estimate_difference(after.parts, {"elsewhere": (1, 1, 1)})["num"] == 0


def test_an_estimate_is_the_same_each_time() -> None:
    parts = make_ratio(("a", 1, 2), ("b", 2, 2), ("c", 0, 3)).parts
    assert estimate_ratio(parts, seed=1) == estimate_ratio(parts, seed=1)
