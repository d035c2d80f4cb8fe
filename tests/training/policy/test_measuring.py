"""A policy is asked everything once, whatever kills it, and its figures are those of its answers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import training.policy.judged
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError
from pocket.sample_files import SAMPLES
from training.engines import EngineChoice
from training.evaluation.judges import LocalJudge
from training.jobs.study_report import flatten_estimates
from training.policy.asking import OtherPolicyError
from training.policy.judged import ReferenceJudge
from training.policy.measuring import PolicyMeasuring, evaluate_policy, measure_policy, plan_policy

Rows = Sequence[dict[str, object]]
WriteRows = Callable[[Rows], str]
Install = Callable[..., Any]
CHOICE = EngineChoice()


def knowing(rows: Rows) -> Callable[[str], str]:
    """A policy that gives the references, says yes to everything else and sees a dog and a horse in each picture."""
    known = {str(row["question"]): str(row["reference"]) for row in rows}

    def reply(question: str) -> str:
        return known.get(question) or ("A dog and a horse." if question.startswith("Describe") else "Yes.")

    return reply


@pytest.fixture
def settings(write_rows: WriteRows, rows: Rows) -> PolicyMeasuring:
    return PolicyMeasuring(source=write_rows(rows), pope_images=12, num_captions=12)


def test_figures_are_those_of_the_answers(
    install: Install, settings: PolicyMeasuring, rows: Rows, tmp_path: Path
) -> None:
    policy = install(knowing(rows))
    figures = evaluate_policy(CHOICE, settings, tmp_path / "out")
    assert {name: estimate["value"] for name, estimate in figures["qa"]["exact"].items()} == {
        "overall": 1.0, "hallucination": 1.0, "reasoning": 1.0
    }  # fmt: skip
    assert figures["qa"]["exact"]["overall"]["num"] == 16
    assert figures["qa"]["objects true, open-ended"]["caption"]["value"] == 1.0
    for sampling in ("random", "popular", "adversarial", "mean"):
        found = figures["pope"][sampling]
        assert (found["accuracy"]["value"], found["yes ratio"]["value"], found["recall"]["value"]) == (0.5, 1.0, 1.0)
    assert figures["pope"]["random"]["accuracy"]["num"] == 24
    captions = figures["captions"]["by objects"]
    assert (captions["CHAIR_s"]["value"], captions["words"]["value"]) == (1.0, 5.0)
    assert captions["coverage"]["value"] == pytest.approx(4 / 24)  # a dog is in pictures 0, 5, 6 and 11
    assert captions["CHAIR_i"]["value"] == pytest.approx(20 / 24)
    assert policy.temperatures == {0.0}
    assert "qa.exact.overall" in dict(flatten_estimates(figures))
    for name in ("accuracy", "kinds", "pope", "captions"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 1000


def test_each_picture_and_question_is_asked_once(
    install: Install, settings: PolicyMeasuring, rows: Rows, tmp_path: Path
) -> None:
    """Every sampling asks for the same object that is there."""
    policy = install(knowing(rows))
    report = measure_policy(CHOICE, settings, tmp_path)
    assert report.counts["pope: questions"] == 72
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in lines}) == len(lines) == len(policy.asked)
    assert len(lines) <= 24 + 12 * 4 + 12


def test_pictures_of_two_sources_that_share_a_name_are_told_apart(install: Install, tmp_path: Path) -> None:
    sources = []
    for folder, colour in (("main", "red"), ("pope", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (56, 56), colour).save(tmp_path / folder / "0.png")
        row = {"image": "0.png", "question": "Is there a dog in the image?", "answer": "yes"}
        row |= {"category": "random"} if folder == "pope" else {}
        (tmp_path / folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
        sources.append(str(tmp_path / folder / "rows.jsonl"))
    policy = install(lambda question: "Yes.")
    told = PolicyMeasuring(source=sources[0], pope=sources[1], caption_question="What is there?")
    measure_policy(CHOICE, told, tmp_path / "out")
    asked, red, blue = "Is there a dog in the image?", (255, 0, 0), (0, 0, 255)
    assert policy.seen == [(asked, red), (asked, blue), ("What is there?", red)]


def test_a_killed_measurement_goes_on_and_ends_as_an_unbroken_one(
    install: Install, settings: PolicyMeasuring, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.policy.asking._BLOCK", 10)
    unbroken = install(knowing(rows))
    expected = evaluate_policy(CHOICE, settings, tmp_path / "unbroken")
    broken = install(knowing(rows), breaks_after=3)
    with pytest.raises(EngineError, match="It broke"):
        evaluate_policy(CHOICE, settings, tmp_path / "broken")
    answers = tmp_path / "broken" / "answers.jsonl"
    answers.write_bytes(answers.read_bytes() + b'{"key": "torn')
    second = install(knowing(rows))
    assert evaluate_policy(CHOICE, settings, tmp_path / "broken") == expected
    assert len(broken.asked) == 30
    assert broken.asked + second.asked == unbroken.asked
    third = install(knowing(rows))
    assert evaluate_policy(CHOICE, settings, tmp_path / "broken") == expected
    assert third.asked == []


def test_another_policy_in_the_folder_is_refused(
    install: Install, settings: PolicyMeasuring, rows: Rows, tmp_path: Path
) -> None:
    install(knowing(rows))
    measure_policy(CHOICE, settings, tmp_path)
    with pytest.raises(OtherPolicyError, match="weights was"):
        measure_policy(EngineChoice(model="org/other"), settings, tmp_path)
    with pytest.raises(OtherPolicyError, match="max_tokens was 256, is 99"):
        measure_policy(CHOICE, settings.model_copy(update={"max_tokens": 99}), tmp_path)
    fewer = measure_policy(CHOICE, settings.model_copy(update={"num_captions": 3, "tasks": ("captions",)}), tmp_path)
    assert fewer.counts["captions: questions"] == 3


def test_what_cannot_be_asked_is_skipped_with_the_reason(
    install: Install, write_rows: WriteRows, rows: Rows, tmp_path: Path
) -> None:
    install(knowing(rows))
    source = write_rows([*rows[:4], {**rows[4], "question": "too long"}, {**rows[5], "image": "gone.png"}])
    (Path(source).parent / "gone.png").unlink()
    report = measure_policy(CHOICE, PolicyMeasuring(source=source, tasks=("qa",)), tmp_path / "out")
    assert [(row.id, row.reason.split(" ")[:3]) for row in report.skipped] == [
        ("r5", ["its", "image", "'gone.png'"]), ("r4", ["It", "does", "not"])
    ]  # fmt: skip
    assert report.sections["qa: exact"]["overall"]["num"] == 3


def test_a_judge_compares_answers_with_references(
    install: Install, settings: PolicyMeasuring, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge always prefers what stands first, so over both orders nothing: one half each. What says the same
    as the reference ("Yes." for "Yes, there is a dog.") is not shown to it.
    """
    engine = FakeEngine(verdict="first")
    monkeypatch.setattr(training.policy.judged, "open_judge", lambda choice: LocalJudge(engine))
    known = knowing(rows[:12])
    install(known)
    told = settings.model_copy(update={"tasks": ("qa",), "judge": ReferenceJudge()})
    report = measure_policy(CHOICE, told, tmp_path / "out")
    assert report.sections["qa: probability"]["overall"]["value"] == pytest.approx(0.5)
    assert report.sections["qa: at least as good"]["general"]["num"] == 8
    seen = report.sections["qa: errors seen by the judge"]["overall"]
    assert (seen["value"], seen["num"]) == (0.0, 4)
    judged = (tmp_path / "out" / "judge" / "verdicts.jsonl").read_text().splitlines()
    assert len(judged) == 8


def test_the_plan_counts_the_questions(settings: PolicyMeasuring) -> None:
    step = plan_policy(settings, CHOICE, name="measure")
    assert step.detail == "108 questions"
    assert step.seconds > 0


@pytest.mark.slow
def test_the_shipped_base_is_measured_on_the_shipped_samples(tmp_path: Path) -> None:
    settings = PolicyMeasuring(source=str(SAMPLES / "rows.jsonl"), num_captions=4, pope_images=4)
    figures = evaluate_policy(CHOICE, settings, tmp_path)
    assert figures["qa"]["exact"]["overall"]["value"] >= 0.3
    assert figures["qa"]["exact"]["overall"]["num"] + figures["qa"]["objects true, open-ended"]["overall"]["num"] == 12
    assert figures["pope"]["mean"]["neither yes nor no"]["value"] == 0.0
    assert figures["captions"]["by objects"]["coverage"]["value"] > 0.2
