"""Intervals and calibration, against textbook values and by hand."""

import numpy as np
import pytest

from training.statistics import (
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
