"""A verdict as people read it."""

import io

import pytest
from rich.console import Console

from genrm.types import Detection, Evidence, EvidencePair
from service.openapi import EXAMPLE_RESPONSE
from service.schemas import JudgeResponse
from service.terminal import BAR_CELLS, clean, render_bar, render_evidence, render_verdict


def show(colour: bool = False, **changes: object) -> str:  # noqa: FBT001, FBT002 - a switch of the console
    verdict = JudgeResponse.model_validate({**EXAMPLE_RESPONSE, **changes})
    console = Console(file=io.StringIO(), width=100, force_terminal=colour, color_system="standard" if colour else None)
    console.print(render_verdict(verdict))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_winner_comes_first_and_the_reasons_follow() -> None:
    lines = show().splitlines()
    assert lines[0].strip() == "A is better"
    assert lines[1].startswith("A █")
    assert lines[1].rstrip().endswith("97.0%")
    assert lines[2].startswith("B █░")
    assert "I see two dogs and no cat." in show()
    assert "both orders agree" in lines[-1]


def test_colours_are_for_terminals_only() -> None:
    assert "\x1b[" in show(colour=True)
    assert "\x1b[" not in show()


@pytest.mark.parametrize(("probability", "filled"), [(0.0, 0), (0.5, 20), (1.0, 40), (0.97, 39)])
def test_the_bar_is_as_long_as_the_probability(probability: float, filled: int) -> None:
    bar = render_bar("A", probability).plain
    assert (bar.count("█"), bar.count("░")) == (filled, BAR_CELLS - filled)


def test_a_tie_and_an_abstention_say_why() -> None:
    assert show(status="tie", preferred=None, reason=None).startswith("Tie")
    text = show(status="abstained", preferred=None, probabilities=None, margin=None, reason="No verdict was written.")
    assert text.startswith("No verdict: No verdict was written.")
    assert "█" not in text


def test_orders_that_disagree_are_told() -> None:
    assert "the two orders disagree" in show(consistent=False)
    assert "an order is without verdict" in show(consistent=None)


def test_votes_are_told_from_log_probabilities() -> None:
    assert "votes" in show(probability_source="votes")
    assert "votes" not in show()


def test_what_a_model_writes_cannot_steer_the_terminal() -> None:
    text = show(critique="red \x1b[31mor\x07 clear \x1b[2J [bold]not markup[/bold]")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]not markup[/bold]" in text


def test_line_breaks_and_tabs_stay() -> None:
    assert clean("one\n\ttwo\r\x00\x9b") == "one\n\ttwo"


def test_fast_mode_has_no_empty_paragraph() -> None:
    assert len(show(critique="", evidence=EvidencePair()).splitlines()) == 4


@pytest.mark.parametrize(("numbers", "shown"), [((), "0"), ((2,), "2"), ((2, 2), "2"), ((3, 1), "1 to 3")])
def test_what_several_experts_found_is_not_added_up(numbers: tuple[int, ...], shown: str) -> None:
    boxes = tuple(
        Detection(phrase="dog", score=0.9, box=(0, 0, 5, 5), expert=str(expert), model="m")
        for expert, number in enumerate(numbers)
        for _ in range(number)
    )
    item = Evidence(phrase="dog", mention="dog", polarity="affirmed", finding="supported", detections=boxes)
    assert f"(found {shown})" in render_evidence(item).plain


def test_a_claimed_place_is_said() -> None:
    item = Evidence(phrase="dog", mention="dog", polarity="affirmed", count=1, place="top", finding="contradicted")
    assert render_evidence(item).plain == "dog at the top: contradicted (found 0)"


def test_of_a_statement_nothing_is_said_to_be_found() -> None:
    known = Evidence(
        kind="statement", phrase="It is red.", mention="It is red", polarity="affirmed", finding="contradicted",
        probability=0.04,
    )  # fmt: skip
    assert render_evidence(known).plain == "“It is red”: contradicted (P 0.04)"
    unknown = known.model_copy(update={"finding": "unchecked", "probability": None})
    assert render_evidence(unknown).plain == "“It is red”: unchecked"


def test_evidence_has_a_line_per_claim_and_a_conflict_is_said() -> None:
    lines = show(expert_conflict=True, warnings=("Expert 'x' failed.",)).splitlines()
    assert "A dog × 2: supported (found 2, P 0.97)" in lines
    assert "B cat × 1: unsupported (found 0, P 0.04)" in lines
    assert "The vision experts support the other response." in lines
    assert "Expert 'x' failed." in lines
