"""VL-RewardBench (arXiv:2411.17451): accuracy on 1,250 labelled pairs in three groups, in both orders.

Groups follow the official script's id rule, and the official counts are asserted, because published tables differ
where groups were misfiled. The script shows each pair in one random order per call and leaves unparsed answers out of
the denominator. We read both orders of every pair, give accuracy for each and for both together, under three
conventions for unparsed answers where there are any, and put two blind baselines beside it: the response with fewer
words and, if asked for, the same judge before a grey picture. Published outputs are re-scored by the same measures
(`training.evaluation.published`).

Run: `vl-genrm eval vlrewardbench MMInstruction/VL-RewardBench --output results`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from genrm.plots import draw_bars, draw_reliability
from training.evaluation.published import read_outputs
from training.evaluation.report import Report
from training.evaluation.scoring import (
    CONVENTIONS,
    MEASURES,
    Outcome,
    find_confidences,
    make_outcome,
    measure_accuracy,
    measure_behaviour,
    prefer_shorter,
)
from training.evaluation.setup import Setup, keep_judged
from training.html_report.evaluated import leave_report_page
from training.html_report.judged import choose_judged, choose_outcomes
from training.sources import Pair
from training.statistics import bootstrap_calibration_error, bootstrap_mean, reliability_bins
from training.tables import SourceError

OFFICIAL_COUNTS = {"general": 183, "hallucination": 749, "reasoning": 318}
_HALLUCINATION = {"RLAIF", "RLHF", "hallucination"}
_REASONING = {"mathverse", "mmmu"}
_SHOWN = "verdict over both orders"


def find_group(row_id: str) -> str:
    """The group that an id belongs to: by what stands before its first `_` or `-`, case-sensitive as published."""
    prefix = re.split("[_-]", row_id, maxsplit=1)[0]
    return "hallucination" if prefix in _HALLUCINATION else "reasoning" if prefix in _REASONING else "general"


async def evaluate_vlrewardbench(setup: Setup, *, allow_subset: bool = False, text_only: bool = False) -> Report:
    """Judge the benchmark and report. allow_subset: accept other numbers of pairs. text_only: judge it a second time
    with grey pictures. Raises SourceError if the groups have other sizes than the benchmark's.
    """
    found = setup.read_pairs()
    pairs = _group(found.rows, allow_subset=allow_subset)
    _check_counts(pairs, allow_subset=allow_subset)
    async with setup.judging() as judging:
        verdicts = await judging.verdicts(pairs, title="judge")
        blind = await judging.verdicts(pairs, title="judge blind", blank=True) if text_only else None
        report = Report(title="VL-RewardBench", settings=setup.settings(), skipped=[*found.skipped, *judging.skipped])
    judged, (kept,) = keep_judged(pairs, verdicts)
    outcomes = [make_outcome(pair, verdict) for pair, verdict in zip(judged, kept, strict=True)]
    _fill(report, outcomes, pairs, seed=setup.seed)
    if blind is not None:
        seen, (unseen,) = keep_judged(pairs, blind)
        blind_outcomes = [make_outcome(pair, verdict) for pair, verdict in zip(seen, unseen, strict=True)]
        report.sections["baseline: same judge, grey picture"] = measure_accuracy(
            blind_outcomes, _SHOWN, "half", seed=setup.seed
        )
    confidences, right = find_confidences(judged, kept)
    report.sections["calibration"] = {"ECE": bootstrap_calibration_error(confidences, right, seed=setup.seed)}
    report.details["reliability"] = bins = reliability_bins(confidences, right)
    report.save(setup.output)
    draw_reliability(bins, setup.output / "reliability.png", title="Reliability on VL-RewardBench")
    _draw(report, setup.output)
    leave_report_page(report, setup.output, lambda: choose_judged(judged, kept))
    return report


def rescore_outputs(setup: Setup, outputs: Path, *, allow_subset: bool = False) -> Report:
    """Report on somebody's published outputs instead of judging. Raises SourceError as `evaluate_vlrewardbench` does,
    and if the file is not understood.
    """
    found = setup.read_pairs()
    pairs = _group(found.rows, allow_subset=allow_subset)
    _check_counts(pairs, allow_subset=allow_subset)
    found_pairs, outcomes, missing = read_outputs(outputs, pairs)
    settings = {"source": setup.source, "outputs": outputs.name, "seed": setup.seed}
    report = Report(title="VL-RewardBench, published outputs", settings=settings, skipped=[*found.skipped, *missing])
    _fill(report, outcomes, pairs, seed=setup.seed)
    report.save(setup.output)
    _draw(report, setup.output)
    leave_report_page(report, setup.output, lambda: choose_outcomes(list(zip(found_pairs, outcomes, strict=True))))
    return report


def _group(pairs: Sequence[Pair], *, allow_subset: bool) -> list[Pair]:
    """The pairs in the benchmark's groups; rows of others, which a subset may be, keep the group that they name."""
    return [replace(pair, group=(pair.group if allow_subset else None) or find_group(pair.id)) for pair in pairs]


def _check_counts(pairs: Sequence[Pair], *, allow_subset: bool) -> None:
    counts = Counter(pair.group for pair in pairs)
    if not allow_subset and counts != OFFICIAL_COUNTS:
        raise SourceError(
            f"The rows fall into {_show(counts)}; VL-RewardBench has {_show(OFFICIAL_COUNTS)}. Give all 1,250 rows "
            "with their own ids, or --allow-subset if a part is meant."
        )


def _fill(report: Report, outcomes: Sequence[Outcome], pairs: Sequence[Pair], *, seed: int) -> None:
    for measure, find_scores in MEASURES.items():
        if any(None in find_scores(outcome) for outcome in outcomes):
            for convention in CONVENTIONS:
                name = f"{measure}, unparsed {convention}"
                report.sections[name] = measure_accuracy(outcomes, measure, convention, seed=seed)
        else:  # all conventions say the same
            report.sections[measure] = measure_accuracy(outcomes, measure, "dropped", seed=seed)
    report.sections["behaviour"] = measure_behaviour(outcomes, seed=seed)
    shorter = [prefer_shorter(pair) for pair in pairs]
    report.sections["baseline: response with fewer words"] = {"overall (micro)": bootstrap_mean(shorter, seed=seed)} | {
        name: bootstrap_mean([s for s, pair in zip(shorter, pairs, strict=True) if pair.group == name], seed=seed)
        for name in sorted({pair.group for pair in pairs})
    }
    report.counts = dict(sorted(Counter(pair.group for pair in pairs).items())) | {"judged": len(outcomes)}


def _draw(report: Report, folder: Path) -> None:
    """Accuracy by group: each order and both, and the blind baselines."""
    sections = report.sections
    shown = {measure: sections.get(measure) or sections[f"{measure}, unparsed half"] for measure in MEASURES}
    shown |= {name: part for name, part in sections.items() if name.startswith("baseline")}
    groups = dict.fromkeys(name for part in shown.values() for name in part)
    bars = {group: {name: part[group] for name, part in shown.items() if group in part} for group in groups}
    draw_bars(bars, folder / "accuracy.png", ylabel="accuracy (unparsed half)", title=report.title, reference=0.5)


def _show(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {counts.get(name, 0)}" for name in OFFICIAL_COUNTS)
