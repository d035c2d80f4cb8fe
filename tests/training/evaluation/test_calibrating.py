"""Fitting a temperature: it is found again where it is known, and what is saved is what a judge then uses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genrm.calibration import Calibration, read_calibration
from genrm.engines.fake import FakeEngine
from training.evaluation.calibrating import as_confidences, calibrate, cross_fit, find_log_odds, fit_temperature
from training.evaluation.judges import LocalJudge
from training.evaluation.judging import open_judging
from training.evaluation.setup import Setup
from training.statistics import expected_calibration_error
from training.tables import SourceError

MakeSetup = Callable[..., Setup]


def overconfident(temperature: float, num: int = 6_000) -> np.ndarray:
    """Log-odds of the better responses of a judge whose true log-odds are `temperature` times smaller."""
    rng = np.random.default_rng(0)
    true = rng.normal(scale=1.5, size=num)
    is_right = rng.random(num) < 1 / (1 + np.exp(-np.abs(true)))
    return temperature * np.where(is_right, np.abs(true), -np.abs(true))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_a_known_judge_is_found_again(temperature: float) -> None:
    assert fit_temperature(overconfident(temperature)) == pytest.approx(temperature, rel=0.08)


def test_cross_fitting_removes_the_calibration_error() -> None:
    log_odds = overconfident(3.0)
    before, after = (expected_calibration_error(*as_confidences(each)) for each in (log_odds, cross_fit(log_odds)))
    assert before > 0.1
    assert after < 0.03
    assert (np.sign(cross_fit(log_odds)) == np.sign(log_odds)).all()


async def test_what_is_fitted_is_saved_beside_the_weights_and_reported(make_setup: MakeSetup, tmp_path: Path) -> None:
    beside = tmp_path / "adapter"
    beside.mkdir()
    report = await calibrate(make_setup(), beside=beside)
    assert set(report.sections["before"]) == {"ECE", "negative log likelihood"}
    temperature = read_calibration(beside).temperature("critique")
    assert temperature == pytest.approx(report.counts["temperature"], abs=1e-4)
    assert temperature != 1.0
    assert read_calibration(beside).temperature("fast") == 1.0
    assert json.loads((tmp_path / "output" / "calibration.json").read_text())["notes"]["pairs"] == 24
    assert (tmp_path / "output" / "reliability-after.png").stat().st_size > 1000


async def test_log_odds_are_those_before_any_earlier_calibration(make_setup: MakeSetup, tmp_path: Path) -> None:
    setup, found = make_setup(), []
    pairs = setup.read_pairs().rows
    for name, calibration in (("raw", Calibration()), ("scaled", Calibration({"critique": 4.0}))):
        judge = LocalJudge(FakeEngine(), calibration=calibration)
        judging = open_judging(judge, setup.options, tmp_path / name)
        verdicts = [verdict for verdict in await judging.verdicts(pairs, title=name) if verdict is not None]
        found.append(find_log_odds(pairs, verdicts))
    assert found[0] == pytest.approx(found[1])
    assert found[0].std() > 0.5


async def test_too_few_pairs_are_refused(make_setup: MakeSetup) -> None:
    with pytest.raises(SourceError, match="at least 20"):
        await calibrate(make_setup(limit=10), beside=None)
