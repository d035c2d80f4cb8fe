"""Fitting the temperature that makes a judge's probabilities come true, on labelled pairs it was not trained on.

The temperature minimises the negative log likelihood of the labels under σ(log-odds / T), where the log-odds are those
of the verdict, averaged over both orders, before any earlier calibration (Guo et al., arXiv:1706.04599, with two
classes). One number cannot overfit much, but the report does not rely on that: the calibration error after fitting is
cross-fitted, each half of the pairs with the temperature of the other half. What is saved is fitted on all pairs.

Where experts' findings are added to the log-odds (`--experts combine`), their weight is fitted with the temperature,
both by the same likelihood: a logistic regression of the labels on two numbers, without a constant, so that mirrored
comparisons stay mirrored.

Run: `vl-genrm calibrate pocket:dev?n=2000 --output results`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from genrm.calibration import Scale, write_calibration
from genrm.evidence import evidence_log_odds, find_failure
from genrm.fingerprints import fingerprint_weights
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
MAX_TEMPERATURE = 20.0
"""A temperature is between this and its inverse."""
MAX_WEIGHT = 10.0


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
    combines = setup.options.experts == "combine"
    odds = find_log_odds(judged, kept)
    if not combines:
        odds[:, 1] = 0
    if len(odds) < MIN_PAIRS:
        raise SourceError(f"{len(odds)} pairs have probabilities; at least {MIN_PAIRS} are needed to fit on.")
    scale = fit_scale(odds)
    fitted = cross_fit(odds, seed=setup.seed)
    for name, values in (("before", apply_scale(odds, Scale())), ("after", fitted)):
        confidences, right = as_confidences(values)
        report.sections[name] = {
            "ECE": bootstrap_calibration_error(confidences, right, seed=setup.seed),
            "negative log likelihood": bootstrap_mean(np.logaddexp(0, -values), seed=setup.seed),
        }
        report.details[name] = bins = reliability_bins(confidences, right)
        draw_reliability(bins, setup.output / f"reliability-{name}.png", title=f"Reliability {name} calibration")
    report.counts = {"temperature": round(scale.temperature, 4), "pairs": len(odds)}
    if combines:
        report.counts["evidence weight"] = round(scale.evidence_weight, 4)
    report.save(setup.output)
    leave_report_page(report, setup.output, lambda: choose_judged(judged, kept))
    notes = {"source": setup.source, "pairs": len(odds), "ECE before and after": [
        round(report.sections[name]["ECE"]["value"], 4) for name in ("before", "after")
    ]}  # fmt: skip
    weights = fingerprint_weights(beside) if beside is not None else ""
    for folder in (setup.output, beside):
        if folder is not None:
            if combines:
                write_calibration(folder, {}, {setup.options.mode: scale}, weights=weights, notes=notes)
            else:
                write_calibration(folder, {setup.options.mode: scale.temperature}, weights=weights, notes=notes)
    return report


def find_log_odds(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> np.ndarray:
    """Log-odds (nats) of the better response over the other, without calibration, of all verdicts that have both
    orders: n rows of the judge's and the evidence's. Without those of experts that failed.
    """
    found = []
    for pair, verdict in zip(pairs, verdicts, strict=True):
        is_whole = find_failure(verdict.warnings) is None  # evidence that is missing would count as saying nothing
        if is_whole and verdict.probabilities is not None and verdict.consistent is not None:
            for_a = np.log(verdict.probabilities.A) - np.log(verdict.probabilities.B)
            read = verdict.calibration_temperature * (for_a - (verdict.evidence_log_odds or 0.0))
            sign = 1 if pair.label == "A" else -1
            found.append((sign * read, sign * evidence_log_odds(verdict.evidence)))
    return np.array(found, dtype=float).reshape(-1, 2)


def fit_scale(odds: np.ndarray) -> Scale:
    """The scale under which the labels are likeliest: temperature in [0.05, 20], weight of the evidence in [0, 10].

    odds: (n, 2), as of `find_log_odds`; where the second column says nothing the weight is 1, as unfitted. The loss is
    convex in 1 / temperature and weight.
    """
    has_evidence = bool(odds[:, 1].any())
    columns = odds if has_evidence else odds[:, :1]

    def loss(factors: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = columns @ factors
        wrong = expit(-scaled)
        return float(np.logaddexp(0, -scaled).mean()), -(columns * wrong[:, None]).mean(axis=0)

    bounds = [(1 / MAX_TEMPERATURE, MAX_TEMPERATURE), (0.0, MAX_WEIGHT)][: columns.shape[1]]
    found = minimize(loss, x0=np.ones(columns.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B")
    return Scale(temperature=float(1 / found.x[0]), evidence_weight=float(found.x[1]) if has_evidence else 1.0)


def apply_scale(odds: np.ndarray, scale: Scale) -> np.ndarray:
    """Log-odds of the verdicts, (n,), under a scale. odds: as of `find_log_odds`."""
    scaled: np.ndarray = odds[:, 0] / scale.temperature + scale.evidence_weight * odds[:, 1]
    return scaled


def cross_fit(odds: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The log-odds of the verdicts, (n,), each half under the scale of the other half. seed: of the halves."""
    halves = np.array_split(np.random.default_rng(seed).permutation(len(odds)), 2)
    fitted = np.empty(len(odds))
    for half, other in zip(halves, reversed(halves), strict=True):
        fitted[half] = apply_scale(odds[half], fit_scale(odds[other]))
    return fitted


def as_confidences(log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top probability, and whether it was right (0.5 for a tie), from log-odds of the better response."""
    confidences: np.ndarray = 1 / (1 + np.exp(-np.abs(log_odds)))
    right: np.ndarray = (1 + np.sign(log_odds)) / 2
    return confidences, right
