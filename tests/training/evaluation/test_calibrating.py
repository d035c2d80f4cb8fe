"""Fitting a temperature: it is found again where it is known, and what is saved is what a judge then uses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genrm.calibration import Calibration, Scale, read_calibration
from genrm.engines.fake import FakeEngine
from genrm.evidence import OBJECTS_UNCHECKED
from genrm.fingerprints import fingerprint_weights
from training.evaluation.calibrating import apply_scale, as_confidences, calibrate, cross_fit, find_log_odds, fit_scale
from training.evaluation.judges import LocalJudge
from training.evaluation.judging import open_judging
from training.evaluation.setup import Setup
from training.statistics import expected_calibration_error
from training.tables import SourceError

MakeSetup = Callable[..., Setup]


def overconfident(temperature: float, num: int = 6_000) -> np.ndarray:
    """Log-odds of the better responses, true ones `temperature` times smaller; beside them those of no evidence."""
    rng = np.random.default_rng(0)
    true = rng.normal(scale=1.5, size=num)
    is_right = rng.random(num) < 1 / (1 + np.exp(-np.abs(true)))
    log_odds = temperature * np.where(is_right, np.abs(true), -np.abs(true))
    return np.column_stack([log_odds, np.zeros(num)])


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_a_known_judge_is_found_again(temperature: float) -> None:
    scale = fit_scale(overconfident(temperature))
    assert scale.temperature == pytest.approx(temperature, rel=0.08)
    assert scale.evidence_weight == 1.0


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (2.0, 0.3), (0.7, 1.8)])
def test_temperature_and_weight_of_a_known_judge_with_experts_are_found_again(
    temperature: float, weight: float
) -> None:
    rng = np.random.default_rng(1)
    read, found = rng.normal(scale=1.5, size=(2, 20_000))
    is_right = rng.random(20_000) < 1 / (1 + np.exp(-(read + found)))
    odds = np.where(is_right, 1, -1)[:, None] * np.column_stack([temperature * read, found / weight])
    scale = fit_scale(odds)
    assert scale.temperature == pytest.approx(temperature, rel=0.06)
    assert scale.evidence_weight == pytest.approx(weight, rel=0.06)


@pytest.mark.parametrize("num", [20, 200])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_scale_is_likelier(num: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = rng.normal(loc=0.8, scale=2.0, size=(num, 2)) * rng.uniform(0.2, 5.0, size=2)

    def loss(scale: Scale) -> float:
        return float(np.logaddexp(0, -apply_scale(odds, scale)).mean())

    grid = [Scale(temperature=t, evidence_weight=w) for t in np.geomspace(0.05, 20, 60) for w in np.linspace(0, 10, 60)]
    assert loss(fit_scale(odds)) <= min(map(loss, grid)) + 1e-6


def test_experts_that_guess_get_no_weight() -> None:
    odds = overconfident(1.0)
    odds[:, 1] = np.random.default_rng(2).choice([-3.0, 3.0], size=len(odds))
    assert fit_scale(odds).evidence_weight < 0.05


def test_cross_fitting_removes_the_calibration_error() -> None:
    log_odds = overconfident(3.0)
    fitted = cross_fit(log_odds)
    before, after = (expected_calibration_error(*as_confidences(each)) for each in (log_odds[:, 0], fitted))
    assert before > 0.1
    assert after < 0.03
    assert (np.sign(fitted) == np.sign(apply_scale(log_odds, Scale()))).all()


async def test_what_is_fitted_is_saved_beside_the_weights_and_reported(make_setup: MakeSetup, tmp_path: Path) -> None:
    beside = tmp_path / "adapter"
    beside.mkdir()
    (beside / "adapter_model.safetensors").write_bytes(b"weights")
    report = await calibrate(make_setup(), beside=beside)
    for folder in (beside, tmp_path / "output"):
        assert json.loads((folder / "calibration.json").read_text())["weights"] == fingerprint_weights(beside)
    assert set(report.sections["before"]) == {"ECE", "negative log likelihood"}
    temperature = read_calibration(beside).scale("critique").temperature
    assert temperature == pytest.approx(report.counts["temperature"], abs=1e-4)
    assert temperature != 1.0
    assert read_calibration(beside).scale("fast").temperature == 1.0
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
    assert found[0][:, 0].std() > 0.5


async def test_a_verdict_whose_expert_failed_fits_nothing(make_setup: MakeSetup, tmp_path: Path) -> None:
    setup = make_setup()
    pairs = setup.read_pairs().rows
    judging = open_judging(LocalJudge(FakeEngine()), setup.options, tmp_path / "judged")
    verdicts = [verdict for verdict in await judging.verdicts(pairs, title="judge") if verdict is not None]
    failed = verdicts[0].model_copy(update={"warnings": (f"Expert 'e' failed. {OBJECTS_UNCHECKED}",)})
    assert len(find_log_odds(pairs, [failed, *verdicts[1:]])) == len(find_log_odds(pairs, verdicts)) - 1


async def test_too_few_pairs_are_refused(make_setup: MakeSetup) -> None:
    with pytest.raises(SourceError, match="at least 20"):
        await calibrate(make_setup(limit=10), beside=None)
