"""The benchmark's arithmetic, by hand, and its run on the fake engine."""

import json
from pathlib import Path

import pytest

from genrm.engines.fake import FakeEngine
from genrm.types import Probabilities, Timings, Usage, Verdict
from pocket.bench import BLANK, fill_report, run_bench
from pocket.rows import make_rows
from pocket.scenes import Split
from pocket.training_source import to_pair
from training.evaluation.judges import LocalJudge
from training.evaluation.report import Report
from training.evaluation.setup import Setup

PAIRS = [to_pair(row) for row in make_rows(Split.DEV, 30)]


def verdict(p_a: float | None) -> Verdict:
    """A verdict with P(A) = p_a; None abstains."""
    return Verdict(
        status="abstained" if p_a is None else "tie" if p_a == 0.5 else "decided",
        reason="unparsed" if p_a is None else None,
        preferred=None if p_a in (None, 0.5) else "A" if p_a > 0.5 else "B",
        probabilities=None if p_a is None else Probabilities(A=p_a, B=1 - p_a),
        margin=None if p_a is None else 2 * p_a - 1,
        confidence=0.0 if p_a is None else max(p_a, 1 - p_a),
        consistent=True,
        label_mass=1.0,
        probability_source="logprobs",
        critique="",
        readings=(),
        usage=Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=0),
        timings_ms=Timings(),
    )


def test_ties_count_half_and_abstentions_nothing() -> None:
    right = 0.9 if PAIRS[0].label == "A" else 0.1
    report = Report(title="", settings={})
    fill_report(report, PAIRS[:1] * 4, [verdict(p) for p in (right, 1 - right, 0.5, None)])
    assert report.sections["accuracy"]["overall"]["value"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert report.counts == {"judged": 4, "ties": 1, "abstained": 1}


def test_a_judge_that_is_always_right_scores_one_everywhere() -> None:
    report = Report(title="", settings={})
    fill_report(report, PAIRS, [verdict(0.9 if pair.label == "A" else 0.1) for pair in PAIRS])
    parts = ("accuracy", "accuracy by kind", "accuracy by kind of error")
    assert {share["value"] for part in parts for share in report.sections[part].values()} == {1.0}
    assert report.sections["accuracy"].keys() == {"overall", "general", "hallucination", "reasoning"}
    assert report.sections["calibration"]["ECE"]["value"] == pytest.approx(0.1)


@pytest.mark.usefixtures("emoji_font")
async def test_the_benchmark_runs_on_any_engine_and_writes_its_files(tmp_path: Path) -> None:
    setup = Setup(source="pocket:dev?n=30", output=tmp_path, judge=LocalJudge(FakeEngine()))
    report = await run_bench(setup)
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["sections"]["accuracy"]["overall"]["num"] == 30
    assert written["sections"]["baselines"][BLANK]["num"] == 8  # a quarter
    assert BLANK in report.render()
    assert (tmp_path / "reliability.png").stat().st_size > 1000
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<article ") == 20
    assert "Kind of error" in page
