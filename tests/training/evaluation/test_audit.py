"""Leanings that are built in are found, and none where there is none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from genrm.engines.fake import FakeEngine
from genrm.judge import JudgeOptions
from genrm.types import Probabilities, Reading, Response, Timings, Usage, Verdict
from training.evaluation.audit import audit, measure_length, measure_steadiness, measure_yes
from training.evaluation.setup import Setup
from training.evaluation.styles import STYLES, as_bullets
from training.sources import Pair
from training.statistics import share_with_interval

MakeSetup = Callable[..., Setup]


def pair(a: str, b: str, label: Response) -> Pair:
    return Pair(id="x", question="?", response_a=a, response_b=b, label=label, load_images=tuple)


def verdict(preferred: Response | None, *, readings: tuple[Reading, ...] = ()) -> Verdict:
    return Verdict(
        status="decided" if preferred else "tie",
        preferred=preferred,
        probabilities=Probabilities(A=0.5, B=0.5),
        confidence=0.5,
        consistent=True,
        label_mass=1,
        probability_source="logprobs",
        critique="",
        readings=readings,
        usage=Usage(prompt_tokens=0, completion_tokens=0, cached_tokens=0),
        timings_ms=Timings(),
    )


def reading(first: Response, p_a: float) -> Reading:
    probabilities = Probabilities(A=p_a, B=1 - p_a)
    return Reading(
        first=first, critique="", probabilities=probabilities, label_mass=1, finish_reason="stop", completion_tokens=1
    )


def test_a_judge_that_takes_the_longer_one_is_told_from_one_that_is_right() -> None:
    """Three pairs of four have the longer response as the better one, so a judge that is right takes it often too."""
    pairs = [pair("one two", "one", label) for label in ("A", "A", "A", "B")]
    right = measure_length(pairs, [verdict(p.label) for p in pairs])
    greedy = measure_length(pairs, [verdict("A") for _ in pairs])
    assert right["longer wins"]["value"] == 0.75
    assert right["longer wins, quality balanced"]["value"] == 0.5
    assert greedy["longer wins, quality balanced"]["value"] == 1.0


def test_pairs_of_equal_length_say_nothing_of_length() -> None:
    assert measure_length([pair("one two", "two one", "A")], [verdict("A")]) == {}


def test_yes_bias_is_how_much_more_often_yes_wins_than_it_is_right() -> None:
    pairs = [pair("Yes, it is.", "No, it is not.", "B"), pair("No.", '"Yes".', "B"), pair("A dog.", "Yes.", "A")]
    found = measure_yes(pairs, [verdict("A"), verdict("B"), verdict("A")])
    assert found["yes wins"] == pytest.approx(share_with_interval(2, 2))
    assert found["yes bias (difference)"]["value"] == 0.5
    assert measure_yes(pairs[2:], [verdict("A")]) == {}


def test_steadiness_is_the_share_of_the_majority_in_each_order() -> None:
    readings = (reading("A", 0.9), reading("A", 0.8), reading("A", 0.1), reading("B", 0.2), reading("B", 0.3))
    assert measure_steadiness(verdict("A", readings=readings)) == pytest.approx((2 / 3 + 1) / 2)
    assert measure_steadiness(verdict("A")) is None


@pytest.mark.parametrize("name", STYLES)
def test_a_style_keeps_every_word_in_order(name: str) -> None:
    text = "There are 3.5 dogs. One sleeps! Is it brown? Yes"
    words = iter(STYLES[name](text).split())
    assert all(word in words for word in text.split())
    assert STYLES[name](text) != text


def test_every_sentence_becomes_an_item() -> None:
    assert as_bullets("One dog. Two cats!") == "- One dog.\n- Two cats!"


async def test_a_judge_that_takes_the_first_one_is_found_out(make_setup: MakeSetup, tmp_path: Path) -> None:
    report = await audit(make_setup(verdict="first"), num_samples=3)
    position = report.sections["position"]
    assert (position["first-position rate"]["value"], position["flip rate"]["value"]) == (1.0, 1.0)
    assert report.sections["style: restyled beats plain"]["polite closing"]["value"] == 0.5
    assert "yes" not in report.sections
    assert {"report.json", "leanings.png", "reliability.png"} <= {p.name for p in (tmp_path / "output").iterdir()}


async def test_sampled_critiques_of_an_unsure_judge_disagree(make_setup: MakeSetup) -> None:
    report = await audit(make_setup(engine=FakeEngine(has_logprobs=False)), num_samples=8)
    steadiness = report.sections["steadiness"]["agreement of 8 samples"]
    assert 0.5 < steadiness["value"] < 1.0


async def test_fast_mode_has_no_steadiness(make_setup: MakeSetup) -> None:
    report = await audit(make_setup(options=JudgeOptions(mode="fast", experts="off")))
    assert "steadiness" not in report.sections
