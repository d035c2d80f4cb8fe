"""Judge, experts and both, on pairs whose truth the experts see."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from experts.contract import ExpertError, Inquiry
from experts.fake import FakeExpert
from experts.panel import ExpertPanel
from genrm.engines.fake import FakeEngine
from training.evaluation.hallucination import evaluate_hallucination
from training.evaluation.judges import LocalJudge
from training.evaluation.setup import Setup
from training.tables import SourceError

MakeSetup = Callable[..., Setup]


def regroup(rows_file: Path, *, given: str, exchanged: str) -> None:
    """Put the rows whose first response is the better one into one group, the others into another."""
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()]
    for row in rows:
        row["group"] = given if row["human_ranking"] == [0, 1] else exchanged
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))


async def test_experts_that_see_what_is_there_are_always_right_and_the_position_judge_never_helps(
    make_setup: MakeSetup, rows_file: Path, tmp_path: Path
) -> None:
    """Response A names a dog and a mat, B a cat. Rows prefer each in turns, so experts that find dogs only are right
    where A is better.
    """
    judge = LocalJudge(FakeEngine(verdict="first"), panel=ExpertPanel([FakeExpert({"dog": 1})]))
    report = await evaluate_hallucination(make_setup(judge=judge))
    accuracy = {name: estimate["value"] for name, estimate in report.sections["accuracy"].items()}
    assert accuracy == {"judge alone": 0.5, "experts alone": 0.5, "judge and experts": 0.5}
    unchanged, bound = report.sections["paired differences"]["judge and experts - judge alone"], 0.13798
    assert unchanged == pytest.approx({"value": 0.0, "low": -bound, "high": bound, "num": 24}, abs=1e-5)
    assert report.sections["behaviour"]["experts undecided"]["value"] == 0.0
    assert (tmp_path / "output" / "accuracy.png").stat().st_size > 1000


async def test_experts_are_right_where_the_supported_response_is_the_better_one(
    make_setup: MakeSetup, rows_file: Path
) -> None:
    regroup(rows_file, given="hallucination", exchanged="reasoning")
    judge = LocalJudge(FakeEngine(), panel=ExpertPanel([FakeExpert({"dog": 1})]))
    report = await evaluate_hallucination(make_setup(judge=judge))
    assert report.sections["accuracy"]["experts alone"]["value"] == 1.0
    assert report.counts == {"pairs of other groups left out": 12, "judged": 12}


async def test_a_source_without_hallucinations_is_refused(make_setup: MakeSetup, rows_file: Path) -> None:
    regroup(rows_file, given="reasoning", exchanged="general")
    with pytest.raises(SourceError, match="no pair of the group 'hallucination'"):
        await evaluate_hallucination(make_setup())


async def test_a_pair_for_which_an_expert_failed_is_left_out_and_asked_again(
    make_setup: MakeSetup, rows_file: Path, tmp_path: Path
) -> None:
    """The expert fails on the first of 12 pictures, in both runs of the judge; the next time it is well."""
    regroup(rows_file, given="hallucination", exchanged="reasoning")

    def fail(inquiries: Sequence[Inquiry]) -> None:
        if any(inquiry.image.getpixel((0, 0)) == (0, 90, 30) for inquiry in inquiries):
            raise ExpertError("It broke.")

    broken = FakeExpert({"dog": 1}, behave=fail, batch_size=1)
    report = await evaluate_hallucination(make_setup(judge=LocalJudge(FakeEngine(), panel=ExpertPanel([broken]))))
    accuracy = report.sections["accuracy"]
    assert {name: estimate["num"] for name, estimate in accuracy.items()} == {
        "judge alone": 12, "experts alone": 11, "judge and experts": 11
    }  # fmt: skip
    assert accuracy["experts alone"]["value"] == 1.0
    assert report.sections["paired differences"]["experts alone - judge alone"]["num"] == 11
    assert report.sections["behaviour"]["experts undecided"]["num"] == 11
    assert report.counts["left out of experts alone"] == report.counts["left out of judge and experts"] == 1
    assert (report.counts["judged"], report.skipped) == (12, [])
    engine = FakeEngine()
    well = LocalJudge(engine, panel=ExpertPanel([FakeExpert({"dog": 1})]))
    again = await evaluate_hallucination(make_setup(judge=well))
    assert engine.num_calls == 2
    assert (again.sections["accuracy"]["experts alone"]["num"], again.skipped) == (12, [])
