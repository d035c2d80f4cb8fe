"""The benchmark's arithmetic, by hand, and its run on the fake engine."""

import json
from pathlib import Path

import pytest

from genrm.engines.fake import FakeEngine
from genrm.judge import Judge, JudgeOptions
from genrm.types import Probabilities, Timings, Usage, Verdict
from pocket.bench import (
    judge_rows,
    print_report,
    rows_of,
    save_report,
    score,
    summarise,
)
from pocket.scenes import Split

ROWS = rows_of(Split.DEV, 30)


def verdict(p_a: float | None, *, consistent: bool = True) -> Verdict:
    """A verdict with P(A) = p_a; None abstains."""
    return Verdict(
        status="abstained" if p_a is None else "tie" if p_a == 0.5 else "decided",
        reason="unparsed" if p_a is None else None,
        preferred=None if p_a in (None, 0.5) else "A" if p_a > 0.5 else "B",
        probabilities=None if p_a is None else Probabilities(A=p_a, B=1 - p_a),
        margin=None if p_a is None else 2 * p_a - 1,
        confidence=0.0 if p_a is None else max(p_a, 1 - p_a),
        consistent=consistent,
        label_mass=1.0,
        probability_source="logprobs",
        critique="",
        readings=(),
        usage=Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=0),
        timings_ms=Timings(),
    )


def test_ties_count_half_and_abstentions_nothing() -> None:
    row = ROWS[0]
    right = 0.9 if row.label == "A" else 0.1
    assert [score(row, verdict(p)) for p in (right, 1 - right, 0.5, None)] == [1.0, 0.0, 0.5, 0.0]


def test_a_judge_that_is_always_right_scores_one_everywhere() -> None:
    report = summarise(ROWS, [verdict(0.9 if row.label == "A" else 0.1) for row in ROWS])
    assert report["overall"]["value"] == 1.0  # type: ignore[index] # a share
    assert {share["value"] for share in report["by_group"].values()} == {1.0}  # type: ignore[attr-defined] # shares
    assert "hallucination" in print_report(report)


@pytest.mark.usefixtures("emoji_font")
async def test_the_benchmark_runs_on_any_engine_and_writes_its_files(tmp_path: Path) -> None:
    engine = FakeEngine()
    await engine.start()
    judge = Judge(engine)
    verdicts = await judge_rows(judge, ROWS, options=JudgeOptions())
    blank = await judge_rows(judge, ROWS[:5], options=JudgeOptions(), blank=True)
    await engine.close()
    report = summarise(ROWS, verdicts) | {"blank_image": summarise(ROWS[:5], blank)["overall"]}
    save_report(report, tmp_path, "fake")
    written = json.loads((tmp_path / "fake.json").read_text())
    assert written["overall"]["num"] == len(ROWS)
    assert 0 <= written["ece"] <= 1
    assert "same judge, blank image" in (tmp_path / "fake.txt").read_text()
    assert (tmp_path / "fake.png").stat().st_size > 1000
