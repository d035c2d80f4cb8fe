"""Fitting the temperature that makes a judge's probabilities come true, on labelled pairs it was not trained on.

The temperature minimises the negative log likelihood of the labels under σ(log-odds / T), where the log-odds are those
of the verdict, averaged over both orders, before any earlier calibration (Guo et al., arXiv:1706.04599, with two
classes). One number cannot overfit much, but the report does not rely on that: the calibration error after fitting is
cross-fitted, each half of the pairs with the temperature of the other half. What is saved is fitted on all pairs.

Run: `vl-genrm calibrate pocket:dev?n=2000 --output results`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from genrm.calibration import write_calibration
from genrm.plots import draw_reliability
from genrm.types import Verdict
from training.evaluation.report import Report
from training.evaluation.setup import Setup, keep_judged
from training.html_report.evaluated import leave_report_page
from training.html_report.judged import choose_judged
from training.sources import Pair
from training.statistics import bootstrap_calibration_error, bootstrap_mean, reliability_bins
from training.tables import SourceError

MIN_PAIRS = 20
_LOG_RANGE = (np.log(0.05), np.log(20.0))


async def calibrate(setup: Setup, *, beside: Path | None) -> Report:
    """Judge, fit, report, and save `calibration.json` in the output folder and beside the weights.

    beside: the adapter's or model's folder; None where it is not on this machine. Raises SourceError for fewer than
    `MIN_PAIRS` pairs with probabilities.
    """
    found = setup.read_pairs()
    async with setup.judging() as judging:
        verdicts = await judging.verdicts(found.rows, title="judge")
        report = Report(title="Calibration", settings=setup.settings(), skipped=[*found.skipped, *judging.skipped])
    judged, (kept,) = keep_judged(found.rows, verdicts)
    log_odds = find_log_odds(judged, kept)
    if len(log_odds) < MIN_PAIRS:
        raise SourceError(f"{len(log_odds)} pairs have probabilities; at least {MIN_PAIRS} are needed to fit on.")
    temperature = fit_temperature(log_odds)
    fitted = cross_fit(log_odds, seed=setup.seed)
    for name, values in (("before", log_odds), ("after", fitted)):
        confidences, right = as_confidences(values)
        report.sections[name] = {
            "ECE": bootstrap_calibration_error(confidences, right, seed=setup.seed),
            "negative log likelihood": bootstrap_mean(np.logaddexp(0, -values), seed=setup.seed),
        }
        report.details[name] = bins = reliability_bins(confidences, right)
        draw_reliability(bins, setup.output / f"reliability-{name}.png", title=f"Reliability {name} calibration")
    report.counts = {"temperature": round(temperature, 4), "pairs": len(log_odds)}
    report.save(setup.output)
    leave_report_page(report, setup.output, lambda: choose_judged(judged, kept))
    notes = {"source": setup.source, "pairs": len(log_odds), "ECE before and after": [
        round(report.sections[name]["ECE"]["value"], 4) for name in ("before", "after")
    ]}  # fmt: skip
    for folder in (setup.output, beside):
        if folder is not None:
            write_calibration(folder, {setup.options.mode: temperature}, notes=notes)
    return report


def find_log_odds(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> np.ndarray:
    """Log-odds (nats) of the better response over the other, without calibration, of all verdicts that have both
    orders.
    """
    found = []
    for pair, verdict in zip(pairs, verdicts, strict=True):
        if verdict.probabilities is not None and verdict.consistent is not None:
            for_a = np.log(verdict.probabilities.A) - np.log(verdict.probabilities.B)
            found.append(verdict.calibration_temperature * (for_a if pair.label == "A" else -for_a))
    return np.array(found, dtype=float)


def fit_temperature(log_odds: np.ndarray) -> float:
    """The temperature, in [0.05, 20], under which the labels are likeliest. log_odds: of the better responses, nats."""
    found = minimize_scalar(
        lambda log_t: float(np.logaddexp(0, -log_odds / np.exp(log_t)).mean()), bounds=_LOG_RANGE, method="bounded"
    )
    return float(np.exp(found.x))


def cross_fit(log_odds: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The log-odds, each half divided by the temperature of the other half. seed: of the halves."""
    halves = np.array_split(np.random.default_rng(seed).permutation(len(log_odds)), 2)
    fitted = np.empty_like(log_odds)
    for half, other in zip(halves, reversed(halves), strict=True):
        fitted[half] = log_odds[half] / fit_temperature(log_odds[other])
    return fitted


def as_confidences(log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top probability, and whether it was right (0.5 for a tie), from log-odds of the better response."""
    confidences: np.ndarray = 1 / (1 + np.exp(-np.abs(log_odds)))
    right: np.ndarray = (1 + np.sign(log_odds)) / 2
    return confidences, right
