"""Best-of-N: a judge that knows picks the best, one that does not picks like chance; judgements are counted."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genrm.engines.fake import FakeEngine
from genrm.judge import Judge, JudgeOptions
from genrm.types import Comparison, Probabilities, Verdict
from training.evaluation.best_of_n import evaluate_best_of_n
from training.evaluation.setup import Setup
from training.tables import SourceError

MakeSetup = Callable[..., Setup]


class KnowingJudge:
    """Prefers the response that ends with the higher number."""

    def __init__(self) -> None:
        self.num_asked = 0
        self._template: Verdict | None = None

    async def start(self) -> None:
        """Nothing to load."""

    def describe(self) -> Mapping[str, Any]:
        """Its name."""
        return {"model": "knowing"}

    async def judge(self, comparison: Comparison, options: JudgeOptions) -> Verdict:
        """The fake engine's verdict with its own probabilities."""
        self.num_asked += 1
        verdict = await Judge(FakeEngine()).judge(comparison, options)
        a, b = (float(text.rsplit(maxsplit=1)[1]) for text in (comparison.response_a, comparison.response_b))
        p_a = 0.9 if a > b else 0.1
        return verdict.model_copy(update={"probabilities": Probabilities(A=p_a, B=1 - p_a), "status": "decided"})

    async def close(self) -> None:
        """Nothing to close."""


def write_contests(
    path: Path, *, num_candidates: int = 8, changes: Mapping[int, Mapping[str, Any]] | None = None
) -> str:
    """Six questions with candidates whose text tells their quality. changes: fields of some rows."""
    Image.new("RGB", (16, 16), "red").save(path / "a.png")
    rng = random.Random(0)
    rows: list[dict[str, Any]] = []
    for number in range(6):
        qualities = [rng.random() for _ in range(num_candidates)]
        candidates = [{"text": f"It is {quality:.6f}", "quality": quality} for quality in qualities]
        rows.append({"id": f"q{number}", "question": "How much?", "image": "a.png", "candidates": candidates})
        rows[-1] |= (changes or {}).get(number, {})
    (path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path / "rows.jsonl")


async def test_a_judge_that_knows_picks_the_best_with_either_strategy(make_setup: MakeSetup, tmp_path: Path) -> None:
    judge = KnowingJudge()
    setup = make_setup(source=write_contests(tmp_path), judge=judge)
    report = await evaluate_best_of_n(setup, strategies=("all_pairs", "knockout"))
    quality = {name: e["value"] for name, e in report.sections["quality, N = 8"].items()}
    assert quality["all_pairs"] == quality["knockout"] == quality["oracle"]
    assert quality["first"] < quality["oracle"]
    assert report.counts["judgements per question, all_pairs, N = 8"] == 28
    assert report.counts["judgements per question, knockout, N = 8"] == 7
    assert judge.num_asked == 6 * 28
    assert "quality, N = 16" not in report.sections
    assert report.sections["paired differences, N = 8"]["knockout - oracle"]["value"] == 0.0
    assert (tmp_path / "output" / "best-of-n.png").stat().st_size > 1000


async def test_one_candidate_is_the_first_the_random_and_the_best(make_setup: MakeSetup, tmp_path: Path) -> None:
    setup = make_setup(source=write_contests(tmp_path, num_candidates=2), judge=KnowingJudge())
    report = await evaluate_best_of_n(setup, strategies=("knockout",))
    assert len({round(e["value"], 12) for e in report.sections["quality, N = 1"].values()}) == 1
    two = {name: e["value"] for name, e in report.sections["quality, N = 2"].items()}
    assert two["first"] < two["oracle"]
    assert two["random"] < two["oracle"]


async def test_a_killed_contest_goes_on_where_it_was(make_setup: MakeSetup, tmp_path: Path) -> None:
    source, judge = write_contests(tmp_path), KnowingJudge()
    await evaluate_best_of_n(make_setup(source=source, judge=judge, limit=2), strategies=("all_pairs",))
    await evaluate_best_of_n(make_setup(source=source, judge=judge), strategies=("all_pairs",))
    assert judge.num_asked == 6 * 28


async def test_rows_without_candidates_or_pictures_are_skipped(make_setup: MakeSetup, tmp_path: Path) -> None:
    few = [{"text": f"It is {number}", "quality": number} for number in range(3)]
    changes: dict[int, dict[str, Any]] = {1: {"candidates": None}, 2: {"candidates": few}, 3: {"image": "absent.png"}}
    setup = make_setup(source=write_contests(tmp_path, changes=changes), judge=KnowingJudge())
    report = await evaluate_best_of_n(setup, strategies=("knockout",))
    assert (report.counts["questions"], report.counts["candidates"]) == (3, 8)
    assert sorted(row.id for row in report.skipped) == ["q1", "q2", "q3"]


async def test_a_source_of_pairs_is_no_contest(make_setup: MakeSetup) -> None:
    with pytest.raises(SourceError, match="no row with candidates"):
        await evaluate_best_of_n(make_setup(), strategies=("knockout",))
