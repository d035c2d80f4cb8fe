"""Every evaluation leaves a page with its plots and examples, wrong ones first, and leaves the same one again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genrm.engines.fake import FakeEngine
from genrm.judge import JudgeOptions
from genrm.types import Probabilities, Timings, Usage, Verdict
from training.evaluation.audit import audit
from training.evaluation.best_of_n import evaluate_best_of_n
from training.evaluation.calibrating import calibrate
from training.evaluation.hallucination import evaluate_hallucination
from training.evaluation.report import Report
from training.evaluation.setup import Setup
from training.evaluation.vlrewardbench import evaluate_vlrewardbench, rescore_outputs
from training.html_report.judged import choose_judged
from training.html_report.page import PAGE
from training.sources import Pair

MakeSetup = Callable[..., Setup]
ReadPage = Callable[[Path], Any]
Run = Callable[[Setup], Awaitable[Report]]


def make_verdict(p_a: float | None) -> Verdict:
    """A verdict with P(A) = p_a; None abstains."""
    return Verdict(
        status="abstained" if p_a is None else "tie" if p_a == 0.5 else "decided",
        reason="unparsed" if p_a is None else None,
        preferred=None if p_a in (None, 0.5) else "A" if p_a > 0.5 else "B",
        probabilities=None if p_a is None else Probabilities(A=p_a, B=1 - p_a),
        margin=None if p_a is None else 2 * p_a - 1,
        confidence=0.0,
        consistent=True,
        label_mass=1.0,
        probability_source="logprobs",
        critique="",
        readings=(),
        usage=Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=0),
        timings_ms=Timings(),
    )


def test_wrong_ones_come_first_the_surest_at_the_top_then_open_ones_then_right_ones(
    make_pairs: Callable[[int], list[Pair]],
) -> None:
    pairs = [replace(pair, label="A") for pair in make_pairs(8)]
    chances = [0.9, 0.4, None, 0.1, 0.5, 0.6, 0.2, None]
    groups = choose_judged(pairs, [make_verdict(chance) for chance in chances])
    assert [(group.title, [case.id for case in group.cases]) for group in groups] == [
        ("Wrong", ["p3", "p6", "p1"]),
        ("Undecided", ["p4", "p2", "p7"]),
        ("Right", ["p5", "p0"]),
    ]
    assert groups[0].cases[0].outcome == "Prefers B, but A is labelled better"
    assert groups[1].cases[1].outcome == "No verdict (unparsed); A is labelled better"
    assert [said.marks for said in groups[0].cases[0].said] == [("labelled better",), ("preferred",)]


def test_at_most_twenty_are_shown_and_all_are_counted(make_pairs: Callable[[int], list[Pair]]) -> None:
    pairs = [replace(pair, label="A") for pair in make_pairs(90)]
    groups = choose_judged(pairs, [make_verdict((0.1, 0.5, 0.9)[i % 3]) for i in range(90)])
    assert [(len(group.cases), group.num) for group in groups] == [(12, 30), (4, 30), (4, 30)]


RUNS: dict[str, Run] = {
    "vlrewardbench": partial(evaluate_vlrewardbench, allow_subset=True),
    "audit": partial(audit, num_samples=2),
    "calibrate": partial(calibrate, beside=None),
}


@pytest.mark.parametrize("name", RUNS)
async def test_an_evaluation_leaves_its_page_with_every_plot_and_makes_the_same_again(
    make_setup: MakeSetup, tmp_path: Path, read_page: ReadPage, name: str
) -> None:
    folder = tmp_path / "output"
    options = JudgeOptions(mode="critique", samples=1, experts="off")
    await RUNS[name](make_setup(options=options))
    page = read_page(folder)
    num_plots = len(list(folder.glob("*.png")))
    assert num_plots >= 1
    assert len(page.find("figure")) == num_plots
    assert len(page.list_outcomes()) == 20
    assert page.list_outcomes() == sorted(page.list_outcomes(), key=["bad", "open", "good"].index)
    assert "What is in picture" in page.text
    (folder / PAGE).unlink()
    second = FakeEngine()
    await RUNS[name](make_setup(options=options, engine=second))
    assert second.num_calls == 0
    assert read_page(folder).list_outcomes() == page.list_outcomes()


async def test_a_judge_that_always_prefers_the_first_leaves_ties_and_one_that_says_nothing_abstentions(
    make_setup: MakeSetup, tmp_path: Path, read_page: ReadPage
) -> None:
    await evaluate_vlrewardbench(make_setup(verdict="none"), allow_subset=True)
    page = read_page(tmp_path / "output")
    assert page.list_outcomes() == ["open"] * 20
    assert "0 ties, 24 abstentions; 48 of 48 readings unparsed" in page.text


async def test_pictures_that_are_gone_when_the_page_is_made_again_are_said(
    make_setup: MakeSetup, rows_file: Path, tmp_path: Path, read_page: ReadPage
) -> None:
    await evaluate_vlrewardbench(make_setup(), allow_subset=True)
    for path in rows_file.parent.glob("*.png"):
        path.write_bytes(b"no picture")
    await evaluate_vlrewardbench(make_setup(), allow_subset=True)
    assert read_page(tmp_path / "output").text.count("The picture cannot be shown: its image is refused") == 20


async def test_a_page_that_cannot_be_made_costs_no_figure(
    make_setup: MakeSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("It broke.")

    monkeypatch.setattr("training.evaluation.vlrewardbench.choose_judged", fail)
    report = await evaluate_vlrewardbench(make_setup(), allow_subset=True)
    assert report.counts["judged"] == 24
    assert (tmp_path / "output" / "report.json").is_file()
    assert not (tmp_path / "output" / PAGE).exists()


async def test_hallucination_says_who_was_right_about_each_pair(
    make_setup: MakeSetup, tmp_path: Path, read_page: ReadPage
) -> None:
    await evaluate_hallucination(make_setup(options=JudgeOptions(experts="evidence")))
    page = read_page(tmp_path / "output")
    assert "Judge alone" in page.text
    assert "Experts alone undecided" in page.text
    assert "accuracy: judge and experts" in page.text


async def test_best_of_n_shows_first_where_the_choice_is_furthest_below_the_best(
    make_setup: MakeSetup, tmp_path: Path, read_page: ReadPage
) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    rows = [
        {
            "id": f"q{number}",
            "image": "x.png",
            "question": "What?",
            "candidates": [{"text": f"answer {i} of {number}", "quality": ((i + number) % 4) / 4} for i in range(4)],
        }
        for number in range(6)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = await evaluate_best_of_n(
        make_setup(source=str(tmp_path / "rows.jsonl")), strategies=("all_pairs", "knockout")
    )
    page = read_page(tmp_path / "output")
    assert report.counts["questions"] == len(page.list_outcomes()) == 6
    outcomes = [each for each in page.texts if "is better by" in each]
    gaps = [float(each.rpartition(" ")[2]) for each in outcomes if each.startswith(" Chose")]
    assert gaps == sorted(gaps, reverse=True)
    assert "All 4 candidates, as all_pairs ranks them" in page.text
    assert len(page.find("figure")) == 1


def test_published_outputs_are_shown_with_their_votes(
    make_setup: MakeSetup, rows_file: Path, tmp_path: Path, read_page: ReadPage
) -> None:
    lines = []
    for row in map(json.loads, rows_file.read_text().splitlines()[1:]):
        for exchanged, answer in ((0, 1), (1, 2), (0, 3)):
            meta = {"random_number": exchanged, "filter_number": answer}
            lines.append(json.dumps({**row, "meta": meta}))
    (tmp_path / "outputs.jsonl").write_text("\n".join(lines))
    rescore_outputs(make_setup(), tmp_path / "outputs.jsonl", allow_subset=True)
    page = read_page(tmp_path / "output")
    assert page.list_outcomes() == ["bad"] * 12 + ["good"] * 8
    assert "Votes for the better response 0 of 3" in page.text
    assert "Rows skipped 1" in page.text
