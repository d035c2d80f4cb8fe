"""Telling a response that hallucinates from one that does not: the judge, the vision experts, and both.

The experts alone prefer the response whose claims they support better (`genrm.evidence`); no difference, or nothing to
check, counts one half. The judge alone is asked for evidence that it does not read, which gives both at the price of
one. Together the judge reads what the experts found. A pair for which an expert failed is left out of what rests on
experts. All three saw the same pairs, so their differences are paired, over the pairs that both sides have.

Run: `vl-genrm eval hallucination pocket:held-out --output results`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from genrm.evidence import find_better_supported, find_failure
from genrm.plots import draw_bars
from genrm.types import Verdict
from training.evaluation.report import Report
from training.evaluation.scoring import score
from training.evaluation.setup import Setup, keep_judged
from training.html_report.evaluated import leave_report_page
from training.html_report.judged import choose_judged
from training.sources import Pair, Skipped, log_skipped
from training.statistics import Estimate, bootstrap_difference, bootstrap_mean, share_with_interval
from training.tables import SourceError

GROUP = "hallucination"


async def evaluate_hallucination(setup: Setup) -> Report:
    """Judge pairs with and without experts, and report. Of a source with groups only `hallucination` is taken.

    The judge must have experts. Raises SourceError if there is no such pair.
    """
    found = setup.read_pairs()
    pairs = [replace(pair, group=GROUP) for pair in found.rows if pair.group in (GROUP, "")]
    if not pairs:
        raise SourceError(f"{setup.source} has no pair of the group {GROUP!r}, and none without a group.")
    async with setup.judging() as judging:
        alone = await judging.verdicts(pairs, title="judge alone", options=replace(setup.options, experts="evidence"))
        together = await judging.verdicts(
            pairs, title="judge and experts", options=replace(setup.options, experts="prompt")
        )
        report = Report(title="Hallucination", settings=setup.settings(), skipped=[*found.skipped, *judging.skipped])
    judged, (unaided, aided) = keep_judged(pairs, alone, together)
    scores: dict[str, list[float | None]] = {
        "judge alone": [score(pair, verdict) or 0.0 for pair, verdict in zip(judged, unaided, strict=True)],
        "experts alone": [score_experts(pair, verdict) for pair, verdict in zip(judged, unaided, strict=True)],
        "judge and experts": [_score_aided(pair, verdict) for pair, verdict in zip(judged, aided, strict=True)],
    }
    failed: dict[str, int] = {}
    for name, verdicts in (("experts alone", unaided), ("judge and experts", aided)):
        left_out = _find_failures(name, judged, verdicts)
        log_skipped(left_out)
        failed |= {f"left out of {name}": len(left_out)} if left_out else {}
    report.sections["accuracy"] = {
        name: bootstrap_mean([value for value in each if value is not None], seed=setup.seed)
        for name, each in scores.items()
    }
    report.sections["paired differences"] = {
        f"{one} - {other}": _compare(scores[one], scores[other], seed=setup.seed)
        for one, other in (
            ("judge and experts", "judge alone"),
            ("judge and experts", "experts alone"),
            ("experts alone", "judge alone"),
        )
    }
    told = [value for value in scores["experts alone"] if value is not None]
    report.sections["behaviour"] = {"experts undecided": share_with_interval(told.count(0.5), len(told))}
    report.counts = {"pairs of other groups left out": len(found.rows) - len(pairs), "judged": len(judged), **failed}
    report.save(setup.output)
    bars = {name: {"accuracy": estimate} for name, estimate in report.sections["accuracy"].items() if estimate["num"]}
    draw_bars(bars, setup.output / "accuracy.png", ylabel="accuracy", title=report.title, reference=0.5)
    leave_report_page(
        report,
        setup.output,
        lambda: choose_judged(judged, aided, lambda place: _tell(place, scores)),
        headline=("accuracy", "judge and experts"),
    )
    return report


def score_experts(pair: Pair, verdict: Verdict) -> float | None:
    """1 if the better response is better supported, 0 if the other one is, 0.5 if neither; None if an expert failed."""
    if find_failure(verdict.warnings) is not None:
        return None
    preferred = find_better_supported(verdict.evidence)
    return 0.5 if preferred is None else float(preferred == pair.label)


def _tell(place: int, scores: Mapping[str, Sequence[float | None]]) -> dict[str, str]:
    """Whether those who are compared with judge and experts were right about a pair."""
    words = {1.0: "right", 0.5: "undecided", 0.0: "wrong", None: "failed"}
    return {name.capitalize(): words[scores[name][place]] for name in ("judge alone", "experts alone")}


def _score_aided(pair: Pair, verdict: Verdict) -> float | None:
    """Abstentions are wrong: an answer was needed. None if an expert failed: then the judge was not helped."""
    return (score(pair, verdict) or 0.0) if find_failure(verdict.warnings) is None else None


def _find_failures(name: str, pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> list[Skipped]:
    """Pairs for which an expert failed. name: of the figure that they are left out of."""
    found = ((pair, find_failure(verdict.warnings)) for pair, verdict in zip(pairs, verdicts, strict=True))
    return [
        Skipped(id=pair.id, reason=f"it is left out of {name!r}, and asked again the next time: {failure}")
        for pair, failure in found
        if failure is not None
    ]


def _compare(ones: Sequence[float | None], others: Sequence[float | None], *, seed: int) -> Estimate:
    """The difference over the places at which both have a score."""
    both = [(a, b) for a, b in zip(ones, others, strict=True) if a is not None and b is not None]
    return bootstrap_difference([a for a, _ in both], [b for _, b in both], seed=seed)
