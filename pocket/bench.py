"""The pocket benchmark: how good a judge is on comparisons whose truth is known.

Every comparison is judged in both orders by `genrm.judge` on any engine, and the report gives accuracy by group, kind
and kind of error with 95 % Wilson intervals, consistency, first-position rate, unparsed rate, label mass and
calibration (ECE, reliability diagram). Beside it stand two blind baselines: the shorter answer, and the same judge
looking at a blank picture. A tie counts one half; an abstention counts as wrong and is reported apart.

Run: `vl-genrm pocket bench --split held-out --n 2000`.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from genrm.judge import Judge, JudgeOptions
from genrm.types import Comparison, Verdict
from pocket.drawing import draw_scene
from pocket.rows import Row, make_row
from pocket.scenes import SIZE_PIXELS, Split
from training.plots import draw_reliability
from training.statistics import Estimate, expected_calibration_error, reliability_bins, share_with_interval


async def judge_rows(
    judge: Judge, rows: Sequence[Row], *, options: JudgeOptions, concurrency: int = 32, blank: bool = False
) -> list[Verdict]:
    """Verdicts for all rows, in order. blank: show an empty grey picture instead of the scene."""
    gate = asyncio.Semaphore(concurrency)
    bar = tqdm(total=len(rows), desc="judge" + (" blank" if blank else ""), unit="pair")

    async def one(row: Row) -> Verdict:
        async with gate:
            picture = Image.new("RGB", (SIZE_PIXELS, SIZE_PIXELS), (128, 128, 128)) if blank else draw_scene(row.scene)
            comparison = Comparison(
                images=(picture,), question=row.question, response_a=row.response_a, response_b=row.response_b
            )
            verdict = await judge.judge(comparison, options)
            bar.update()
            return verdict

    try:
        return list(await asyncio.gather(*(one(row) for row in rows)))
    finally:
        bar.close()


def rows_of(split: Split, num_rows: int, *, seed: int = 0) -> list[Row]:
    """The first rows of a split."""
    return [make_row(split, index, seed=seed) for index in range(num_rows)]


def score(row: Row, verdict: Verdict) -> float:
    """1 right, 0 wrong or abstained, 0.5 tie."""
    if verdict.status == "tie":
        return 0.5
    return float(verdict.preferred == row.label)


def summarise(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> dict[str, object]:
    """The report as JSON-ready values. Shares are in [0, 1]; label mass and ECE too."""
    scores = [score(row, verdict) for row, verdict in zip(rows, verdicts, strict=True)]
    readings = [reading for verdict in verdicts for reading in verdict.readings]
    parsed = [r for r in readings if r.probabilities is not None]
    chose_first = sum(getattr(r.probabilities, r.first) > 0.5 for r in parsed)
    known = [v.consistent for v in verdicts if v.consistent is not None]
    confidences, right = _confidences(rows, verdicts)
    return {
        "overall": share_with_interval(sum(scores), len(scores)),
        "by_group": _by(rows, scores, lambda row: str(row.group)),
        "by_kind": _by(rows, scores, lambda row: row.kind),
        "by_error_kind": _by(rows, scores, lambda row: str(row.error_kind)),
        "consistency": share_with_interval(sum(known), len(known)),
        "first_position_rate": share_with_interval(chose_first, len(parsed)),
        "unparsed_rate": share_with_interval(len(readings) - len(parsed), len(readings)),
        "ties": sum(v.status == "tie" for v in verdicts),
        "abstained": sum(v.status == "abstained" for v in verdicts),
        "label_mass": float(np.mean([r.label_mass for r in readings])) if readings else None,
        "ece": expected_calibration_error(confidences, right),
        "reliability": reliability_bins(confidences, right),
        "shorter_answer_baseline": share_with_interval(*_shorter_answer(rows)),
    }


def print_report(report: dict[str, object]) -> str:
    """The report as a table for people."""
    lines = [f"{'':28}{'accuracy':>9}  {'95 % interval':<16}{'n':>6}"]

    def add(name: str, share: object) -> None:
        assert isinstance(share, dict)
        lines.append(f"{name:28}{share['value']:>9.3f}  [{share['low']:.3f}, {share['high']:.3f}]  {share['num']:>6}")

    add("overall", report["overall"])
    for title in ("by_group", "by_kind", "by_error_kind"):
        lines.append("-- " + title.replace("_", " "))
        part = report[title]
        assert isinstance(part, dict)
        for name, share in part.items():
            add("  " + name, share)
    lines.append("-- baselines")
    add("  shorter answer", report["shorter_answer_baseline"])
    if "blank_image" in report:
        add("  same judge, blank image", report["blank_image"])
    lines.append("-- behaviour")
    for name in ("consistency", "first_position_rate", "unparsed_rate"):
        add("  " + name.replace("_", " "), report[name])
    mass = "none" if report["label_mass"] is None else f"{report['label_mass']:.4f}"
    lines.append(
        f"  label mass {mass}   ECE {report['ece']:.4f}   ties {report['ties']}   abstained {report['abstained']}"
    )
    return "\n".join(lines)


def save_report(report: dict[str, object], folder: Path, name: str) -> None:
    """Write `<name>.json`, `<name>.txt` and the reliability diagram `<name>.png` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / f"{name}.txt").write_text(print_report(report) + "\n")
    bins = report["reliability"]
    assert isinstance(bins, list)
    draw_reliability(bins, folder / f"{name}.png", title=f"Reliability (ECE {report['ece']:.3f})")


def _confidences(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> tuple[np.ndarray, np.ndarray]:
    """Top probability and whether it was right, of all verdicts that have probabilities."""
    pairs = [
        (max(v.probabilities.A, v.probabilities.B), score(row, v))
        for row, v in zip(rows, verdicts, strict=True)
        if v.probabilities is not None
    ]
    values = np.array(pairs, dtype=float).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _shorter_answer(rows: Sequence[Row]) -> tuple[float, int]:
    def one(row: Row) -> float:
        lengths = len(row.response_a), len(row.response_b)
        return 0.5 if lengths[0] == lengths[1] else float(("A" if lengths[0] < lengths[1] else "B") == row.label)

    return sum(map(one, rows)), len(rows)


def _by(rows: Sequence[Row], scores: Sequence[float], key: Callable[[Row], str]) -> dict[str, Estimate]:
    parts: dict[str, list[float]] = {}
    for row, value in zip(rows, scores, strict=True):
        parts.setdefault(key(row), []).append(value)
    return {name: share_with_interval(sum(values), len(values)) for name, values in sorted(parts.items())}
