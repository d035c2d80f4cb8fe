"""The pocket benchmark: how good a judge is on comparisons whose truth is known.

Comparisons of the pocket world are judged in both orders as in every other evaluation (`training.evaluation`). The
report gives accuracy over all and by group, kind and kind of error, consistency, first-position rate, unparsed rate and
calibration, and beside them two blind baselines: the response with fewer words, and the same judge before a grey
picture. A tie counts one half; an abstention counts as wrong and is counted apart.

Run: `vl-genrm pocket bench --split held-out --n 2000`.
"""

from collections.abc import Callable, Sequence

from genrm.plots import draw_reliability
from genrm.types import Verdict
from training.evaluation.report import Report
from training.evaluation.scoring import find_confidences, make_outcome, measure_behaviour, prefer_shorter, score
from training.evaluation.setup import Setup, keep_judged
from training.html_report.evaluated import leave_report_page
from training.html_report.judged import choose_judged
from training.sources import Pair
from training.statistics import (
    Estimate,
    bootstrap_calibration_error,
    bootstrap_mean,
    reliability_bins,
    share_with_interval,
)

BLANK = "same judge, grey picture"
_BLANK_SHARE = 0.25
"""Of the comparisons, judged a second time before a grey picture."""


async def run_bench(setup: Setup, *, blank: bool = True) -> Report:
    """Judge and report. setup: its source is of the pocket world. blank: with the baseline before a grey picture."""
    pairs = setup.read_pairs().rows
    few = pairs[: max(1, round(_BLANK_SHARE * len(pairs)))] if blank else []
    async with setup.judging() as judging:
        judged, (verdicts,) = keep_judged(pairs, await judging.verdicts(pairs, title="judge"))
        unseen = await judging.verdicts(few, title="judge blank", blank=True)
        report = Report(title="Pocket benchmark", settings=setup.settings(), skipped=judging.skipped)
    fill_report(report, judged, verdicts)
    if few:
        blind, (answers,) = keep_judged(few, unseen)
        report.sections["baselines"][BLANK] = _share(_score_all(blind, answers))
    report.save(setup.output)
    ece = report.sections["calibration"]["ECE"]["value"]
    draw_reliability(
        report.details["reliability"], setup.output / "reliability.png", title=f"Reliability, ECE {ece:.3f}"
    )
    leave_report_page(report, setup.output, lambda: choose_judged(judged, verdicts, lambda place: _tell(judged[place])))
    return report


def fill_report(report: Report, pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> None:
    """Enter all figures but those of the grey picture; shares have Wilson intervals."""
    scores = _score_all(pairs, verdicts)
    report.sections["accuracy"] = {"overall": _share(scores)} | _by(pairs, scores, lambda pair: pair.group)
    report.sections["accuracy by kind"] = _by(pairs, scores, lambda pair: str(pair.record["kind"]))
    report.sections["accuracy by kind of error"] = _by(pairs, scores, lambda pair: str(pair.record["error_kind"]))
    report.sections["baselines"] = {"response with fewer words": _share([prefer_shorter(pair) for pair in pairs])}
    mass = [verdict.label_mass for verdict in verdicts]
    outcomes = [make_outcome(pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]
    report.sections["behaviour"] = measure_behaviour(outcomes) | {"label mass": bootstrap_mean(mass)}
    confidences, right = find_confidences(pairs, verdicts)
    report.sections["calibration"] = {"ECE": bootstrap_calibration_error(confidences, right)}
    report.details["reliability"] = reliability_bins(confidences, right)
    report.counts = {
        "judged": len(pairs),
        "ties": sum(verdict.status == "tie" for verdict in verdicts),
        "abstained": sum(verdict.status == "abstained" for verdict in verdicts),
    }


def _tell(pair: Pair) -> dict[str, str]:
    """What the pocket world knows of a pair beside its label."""
    return {"Kind": str(pair.record["kind"]), "Kind of error": str(pair.record["error_kind"])}


def _score_all(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> list[float]:
    return [score(pair, verdict) or 0.0 for pair, verdict in zip(pairs, verdicts, strict=True)]


def _share(scores: Sequence[float]) -> Estimate:
    return share_with_interval(sum(scores), len(scores))


def _by(pairs: Sequence[Pair], scores: Sequence[float], key: Callable[[Pair], str]) -> dict[str, Estimate]:
    parts: dict[str, list[float]] = {}
    for pair, value in zip(pairs, scores, strict=True):
        parts.setdefault(key(pair), []).append(value)
    return {name: _share(values) for name, values in sorted(parts.items())}
