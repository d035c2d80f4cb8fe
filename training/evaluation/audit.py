"""What a judge leans towards beside what is right: position, length, yes, style; how sure, and how steady it is.

- **position**: how often the first response wins, and how often exchanging the two changes the verdict (flip rate);
- **length**: how often the response with more words wins, where it is the better one and where it is the worse one. The
  mean of the two balances quality: at one half length as such decides nothing;
- **yes**: where one response begins with yes and the other with no, how often yes wins, against how often it is right;
- **style**: the better response against itself in another dress (`training.evaluation.styles`): at one half the dress
  decides nothing;
- **steadiness**: sampled K times per order at temperature 1, the share of samples that agree with their majority;
- **calibration**: expected calibration error and the reliability diagram.

Run: `vl-genrm eval audit SOURCE --output results`.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from genrm.plots import draw_bars, draw_reliability
from genrm.types import Response, Verdict
from training.evaluation.judging import Judging
from training.evaluation.report import Report
from training.evaluation.scoring import count_words, find_confidences, make_outcome, measure_accuracy, measure_behaviour
from training.evaluation.setup import Setup, keep_judged
from training.evaluation.styles import STYLES
from training.html_report.evaluated import leave_report_page
from training.html_report.judged import choose_judged
from training.sources import Pair
from training.statistics import (
    Estimate,
    bootstrap_calibration_error,
    bootstrap_difference,
    bootstrap_macro_mean,
    bootstrap_mean,
    reliability_bins,
    share_with_interval,
)


async def audit(setup: Setup, *, num_samples: int = 5) -> Report:
    """Measure all leanings and report. num_samples: K of the steadiness, ≥ 2; fast mode has nothing to sample."""
    found = setup.read_pairs()
    async with setup.judging() as judging:
        verdicts = await judging.verdicts(found.rows, title="judge")
        styled = {name: await _judge_style(judging, found.rows, name) for name in STYLES}
        sampled = None
        if setup.options.mode == "critique":
            sampled = await judging.verdicts(
                found.rows, title="samples", options=replace(setup.options, samples=num_samples, temperature=1.0)
            )
        report = Report(title="Audit", settings=setup.settings(), skipped=[*found.skipped, *judging.skipped])
    pairs, (kept,) = keep_judged(found.rows, verdicts)
    outcomes = [make_outcome(pair, verdict) for pair, verdict in zip(pairs, kept, strict=True)]
    behaviour = measure_behaviour(outcomes, seed=setup.seed)
    flips = [not outcome.consistent for outcome in outcomes if outcome.consistent is not None]
    confidences, right = find_confidences(pairs, kept)
    report.sections = {
        "accuracy": measure_accuracy(outcomes, "verdict over both orders", "wrong", seed=setup.seed),
        "position": {
            "first-position rate": behaviour["first-position rate"],
            "flip rate": share_with_interval(sum(flips), len(flips)),
            "unparsed rate": behaviour["unparsed rate"],
        },
        "length": measure_length(pairs, kept, seed=setup.seed),
        "yes": measure_yes(pairs, kept, seed=setup.seed),
        "style: restyled beats plain": {name: bootstrap_mean(each, seed=setup.seed) for name, each in styled.items()},
        "calibration": {"ECE": bootstrap_calibration_error(confidences, right, seed=setup.seed)},
    }
    if sampled is not None:
        steadiness = [measure_steadiness(verdict) for verdict in sampled if verdict is not None]
        known = [value for value in steadiness if value is not None]
        report.sections["steadiness"] = {f"agreement of {num_samples} samples": bootstrap_mean(known, seed=setup.seed)}
    report.sections = {name: section for name, section in report.sections.items() if section}
    report.counts = {"judged": len(pairs)}
    report.details["reliability"] = bins = reliability_bins(confidences, right)
    report.save(setup.output)
    draw_reliability(bins, setup.output / "reliability.png", title="Reliability")
    _draw(report, setup)
    leave_report_page(report, setup.output, lambda: choose_judged(pairs, kept))
    return report


def measure_length(pairs: Sequence[Pair], verdicts: Sequence[Verdict], *, seed: int = 0) -> dict[str, Estimate]:
    """How often the response with more words wins; empty if all pairs are of equal length."""
    wins: dict[bool, list[float]] = {True: [], False: []}
    for pair, verdict in zip(pairs, verdicts, strict=True):
        a, b = count_words(pair.response_a), count_words(pair.response_b)
        won = prefers(verdict, "A" if a > b else "B")
        if a != b and won is not None:
            wins[(a > b) == (pair.label == "A")].append(won)
    if not wins[True] or not wins[False]:
        return {}
    return {
        "longer wins": bootstrap_mean([*wins[True], *wins[False]], seed=seed),
        "longer wins where it is better": bootstrap_mean(wins[True], seed=seed),
        "longer wins where it is worse": bootstrap_mean(wins[False], seed=seed),
        "longer wins, quality balanced": bootstrap_macro_mean({str(k): v for k, v in wins.items()}, seed=seed),
        "longer is better (labels)": share_with_interval(len(wins[True]), len(wins[True]) + len(wins[False])),
    }


def measure_yes(pairs: Sequence[Pair], verdicts: Sequence[Verdict], *, seed: int = 0) -> dict[str, Estimate]:
    """How often a yes wins over a no, against how often it is right; empty without such pairs."""
    won, right = [], []
    for pair, verdict in zip(pairs, verdicts, strict=True):
        words = [_first_word(pair.response_a), _first_word(pair.response_b)]
        if sorted(words) != ["no", "yes"]:
            continue
        yes: Response = "A" if words[0] == "yes" else "B"
        preferred = prefers(verdict, yes)
        if preferred is not None:
            won.append(preferred)
            right.append(float(pair.label == yes))
    if not won:
        return {}
    return {
        "yes wins": bootstrap_mean(won, seed=seed),
        "yes is right (labels)": bootstrap_mean(right, seed=seed),
        "yes bias (difference)": bootstrap_difference(won, right, seed=seed),
    }


def measure_steadiness(verdict: Verdict) -> float | None:
    """Share of an order's parsed samples that agree with their majority, mean over orders; None if none was parsed."""
    shares = []
    for first in ("A", "B"):
        found = [r.probabilities for r in verdict.readings if r.first == first]
        for_a = [p.A > 0.5 for p in found if p is not None]
        if for_a:
            shares.append(max(sum(for_a), len(for_a) - sum(for_a)) / len(for_a))
    return float(np.mean(shares)) if shares else None


def prefers(verdict: Verdict, response: Response) -> float | None:
    """1 if the verdict prefers this response, 0.5 for a tie, 0 for the other one, None if it abstained."""
    if verdict.status == "abstained":
        return None
    return 0.5 if verdict.preferred is None else float(verdict.preferred == response)


async def _judge_style(judging: Judging, pairs: Sequence[Pair], name: str) -> list[float]:
    """For every pair whether its better response, restyled, beats itself as it was."""
    against_itself = [
        replace(pair, response_a=pair.better, response_b=STYLES[name](pair.better), label="A") for pair in pairs
    ]
    verdicts = await judging.verdicts(against_itself, title=f"style: {name}")
    won = [prefers(verdict, "B") for verdict in verdicts if verdict is not None]
    return [value for value in won if value is not None]


def _first_word(text: str) -> str:
    match = re.match(r"\W*(\w+)", text)
    return match.group(1).lower() if match else ""


def _draw(report: Report, setup: Setup) -> None:
    """Everything that is one half without a leaning."""
    shown = {
        "first position": report.sections["position"]["first-position rate"],
        "longer,\nbalanced": report.sections.get("length", {}).get("longer wins, quality balanced"),
        "yes": report.sections.get("yes", {}).get("yes wins"),
        **report.sections.get("style: restyled beats plain", {}),
    }
    bars = {name.replace(" ", "\n"): {"share of wins": share} for name, share in shown.items() if share is not None}
    draw_bars(bars, setup.output / "leanings.png", ylabel="share of wins", title="Leanings (0.5 = none)", reference=0.5)
