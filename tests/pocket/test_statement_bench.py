"""Statements whose truth is known, and the scale that is fitted to them."""

import numpy as np
import pytest

from experts.likelihood_checker import LikelihoodChecker
from experts.statement_scale import StatementScale
from genrm.shipped import policy_folder
from pocket.scenes import Split
from pocket.statement_bench import find_surprises, fit_scale, make_statements, report_statements

pytestmark = pytest.mark.usefixtures("emoji_font")


def test_statements_are_true_about_as_often_as_false_and_of_many_kinds() -> None:
    told = make_statements(Split.DEV, 150, seed=3)
    assert told == make_statements(Split.DEV, 150, seed=3)
    assert 0.45 < np.mean([each.is_true for each in told]) < 0.55
    assert {"description: sign", "description: mat", "description: relation", "existence"} <= {t.kind for t in told}


def test_a_known_scale_is_found_again() -> None:
    """Truths drawn under P = sigmoid(3 − 1.5 x), of which two thirds of the false are kept: fitted as if all were."""
    rng = np.random.default_rng(0)
    surprises = rng.uniform(-1, 5, 40_000)
    is_true = rng.random(40_000) < 1 / (1 + np.exp(1.5 * surprises - 3))
    balance = is_true.mean() / (1 - is_true.mean())
    kept = is_true | (rng.random(40_000) < 2 / 3)
    scale = fit_scale(surprises[kept], is_true[kept])
    assert scale.slope == pytest.approx(1.5, abs=0.05)
    assert scale.intercept == pytest.approx(3 - np.log(balance), abs=0.1)
    assert scale.num_statements == kept.sum()


def test_the_shipped_policy_tells_true_statements_from_false_ones() -> None:
    """Sixty scenes of dev; on many more the AUC is 0.96."""
    checker = LikelihoodChecker.load(str(policy_folder()), device="cpu")
    told = make_statements(Split.DEV, 60, seed=5)
    report = report_statements(told, find_surprises(checker, told), checker.scale)
    auc = report["overall"]["AUC"]
    assert isinstance(auc, float)
    assert auc > 0.9
    assert report["description: sign"]["AUC"] == 1.0


def test_a_report_counts_what_is_called_right() -> None:
    told = make_statements(Split.DEV, 4, seed=1)
    surprises = np.array([0.0 if each.is_true else 9.0 for each in told])
    surprises[0] = 9.0 if told[0].is_true else 0.0
    overall = report_statements(told, surprises, StatementScale(intercept=4.5, slope=1.0))["overall"]
    right = overall["right"]
    assert isinstance(right, dict)
    assert right["value"] == pytest.approx((len(told) - 1) / len(told))
