"""Intervals and calibration, against textbook values and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.statistics import (
    Estimate,
    bootstrap_calibration_error,
    bootstrap_difference,
    bootstrap_macro_mean,
    bootstrap_mean,
    expected_calibration_error,
    reliability_bins,
    share_with_interval,
)


def test_wilson_interval_of_eight_of_ten_is_the_textbook_s() -> None:
    share = share_with_interval(8, 10)
    assert share["value"] == 0.8
    assert (round(share["low"], 3), round(share["high"], 3)) == (0.490, 0.943)


def test_wilson_interval_of_nothing_is_everything() -> None:
    share = share_with_interval(0, 0)
    assert (share["low"], share["high"]) == (0.0, 1.0)


def test_bootstrap_interval_of_a_mean_is_that_of_the_normal_law_for_many_values() -> None:
    values = np.random.default_rng(3).normal(size=2_000)
    estimate = bootstrap_mean(values)
    error = values.std() / 2_000**0.5
    assert estimate["value"] == pytest.approx(values.mean())
    assert estimate["low"] == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert estimate["high"] == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_pairing_sees_a_difference_that_two_separate_intervals_hide() -> None:
    difficulty = np.random.default_rng(0).normal(scale=10, size=100)
    better, worse = difficulty + 0.5, difficulty
    assert bootstrap_mean(better)["low"] < bootstrap_mean(worse)["high"]
    assert bootstrap_difference(better, worse)["low"] == pytest.approx(0.5)


def test_measurements_of_different_items_have_no_paired_difference() -> None:
    with pytest.raises(ValueError, match="2 and 3 values are no pairs"):
        bootstrap_difference([1, 2], [1, 2, 3])


def test_macro_mean_weighs_groups_alike_and_leaves_out_empty_ones() -> None:
    estimate = bootstrap_macro_mean({"many": [1.0] * 90, "few": [0.0] * 10, "none": []})
    assert (estimate["value"], estimate["num"]) == (0.5, 100)
    assert np.isnan(bootstrap_macro_mean({"none": []})["value"])


def bounds_of(estimate: Estimate) -> tuple[float, float]:
    return estimate["low"], estimate["high"]


@pytest.mark.parametrize("num", [1, 12, 500])
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_right_or_all_wrong_has_wilsons_interval(score: float, num: int) -> None:
    estimate, wilson = bootstrap_mean([score] * num), share_with_interval(score * num, num)
    assert estimate == pytest.approx(wilson)
    assert (estimate["value"], estimate["num"]) == (score, num)
    assert 0 <= estimate["low"] < estimate["high"] <= 1


def test_the_same_scores_are_still_in_doubt_and_less_so_the_more_there_are() -> None:
    """Of none in one, Wilson's upper bound is z² / (1 + z²) = 0.7935."""
    assert bounds_of(bootstrap_mean([0.5])) == pytest.approx((0.5 - 0.7935 / 2, 0.5 + 0.7935 / 2), abs=1e-4)
    few, many = (bootstrap_mean([0.7] * num) for num in (12, 120))
    assert 0 < few["low"] < many["low"] < 0.7 < many["high"] < few["high"] < 1


def test_no_change_in_any_pair_may_be_one_in_as_many_as_wilson_says_of_none() -> None:
    bound = share_with_interval(0, 12)["high"]
    unchanged = bootstrap_difference([1, 0, 1] * 4, [1, 0, 1] * 4)
    assert (unchanged["value"], *bounds_of(unchanged)) == pytest.approx((0, -bound, bound))
    won = bootstrap_difference([1] * 12, [0] * 12)
    assert (won["value"], *bounds_of(won)) == pytest.approx((1, 1 - 2 * bound, 1))
    rounded = bootstrap_difference([0.3, 0.9], [0.2, 0.8])
    assert rounded["low"] < 0 < rounded["high"]


def test_values_without_known_bounds_that_are_the_same_say_only_themselves() -> None:
    assert bounds_of(bootstrap_mean([7.0] * 3)) == (7.0, 7.0)


def test_a_macro_mean_doubts_its_groups_of_the_same_scores() -> None:
    """Half-widths of independent means add in quadrature."""
    alone = share_with_interval(12, 12)
    two = bootstrap_macro_mean({"right": [1.0] * 12, "wrong": [0.0] * 12})
    assert bounds_of(two) == pytest.approx((0.5 - (1 - alone["low"]) / 2, 0.5 + (1 - alone["low"]) / 2))
    mixed = [1.0, 0.0] * 50
    with_same = bootstrap_macro_mean({"mixed": mixed, "right": [1.0] * 12})
    assert with_same["low"] < bootstrap_mean(mixed)["low"] / 2 + 0.5
    assert with_same["low"] < with_same["value"] < with_same["high"] < 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_every_interval_of_a_mean_holds_it_and_stays_among_the_scores(scores: list[float]) -> None:
    estimate = bootstrap_mean(scores)
    assert -1e-9 <= estimate["low"] <= estimate["value"] + 1e-9
    assert estimate["value"] - 1e-9 <= estimate["high"] <= 1 + 1e-9


def test_perfect_calibration_has_no_error_and_overconfidence_has_its_gap() -> None:
    right = np.arange(100) < 75
    assert expected_calibration_error(np.repeat([0.75], 100), right) == pytest.approx(0)
    assert expected_calibration_error(np.repeat([0.95], 100), right) == pytest.approx(0.2)


def test_the_interval_of_a_calibration_error_holds_it() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.5, 1, size=500)
    estimate = bootstrap_calibration_error(confidences, rng.random(500) < confidences - 0.1)
    assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert estimate["low"] < 0.1 < estimate["high"]


def test_the_most_confident_verdicts_have_a_bin() -> None:
    (row,) = reliability_bins(np.array([1.0, 1.0]), np.array([1.0, 0.0]))
    assert row == {"confidence": 1.0, "accuracy": 0.5, "num": 2}
