"""What the page shows of verdicts, rankings and errors: as text, whatever the text is, and never by colour alone."""

import pytest

from experts.findings import FINDING_SIGNS, collect_detections, describe_claims
from genrm.types import Detection, Evidence, EvidencePair, Finding, Probabilities, Reading, Usage
from genrm.types import Timings as Times
from service.exchange import ServiceError
from service.playground.cards import (
    render_claims,
    render_costs,
    render_critiques,
    render_error,
    render_matrix,
    render_note,
    render_problems,
    render_progress,
    render_ranking,
    render_verdict,
    show_text,
)
from service.rerank_schemas import RerankMatch, RerankResponse, RerankResult, RerankUsage
from service.schemas import JudgeResponse

HOSTILE = "<script>alert(1)</script>\"' & \x00\x1b\x7f"


def make_verdict(**changes: object) -> JudgeResponse:
    readings = tuple(
        Reading(
            first=first,
            critique="Two.",
            probabilities=Probabilities(A=0.9, B=0.1),
            label_mass=1.0,
            finish_reason="stop",
            completion_tokens=3,
        )
        for first in ("A", "B")
    )
    verdict = JudgeResponse(
        id="verdict-1",
        created=0,
        model="judge",
        prompt_version="1",
        status="decided",
        preferred="A",
        probabilities=Probabilities(A=0.9, B=0.1),
        margin=0.8,
        confidence=0.9,
        consistent=True,
        label_mass=1.0,
        probability_source="logprobs",
        critique="Two.",
        readings=readings,
        usage=Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=0),
        timings_ms=Times(total=12.0),
    )
    return verdict.model_copy(update=changes)


def make_ranking() -> RerankResponse:
    results = tuple(
        RerankResult(index=index, relevance_score=score, document=None, wins=wins, losses=1, ties=0, evidence=())
        for index, score, wins in ((1, 0.8, 2), (0, 0.5, 1), (2, 0.2, 0))
    )
    return RerankResponse(
        id="ranking-1",
        created=0,
        model="judge",
        prompt_version="1",
        strategy="knockout",
        judgements=2,
        abstained=0,
        consistency=1.0,
        cycles=(),
        matches=(RerankMatch(one=0, other=1, probability=0.25), RerankMatch(one=1, other=2, probability=0.9)),
        results=results,
        warnings=(),
        usage=RerankUsage(prompt_tokens=1, completion_tokens=1, cached_tokens=0, total_tokens=2),
        timings_ms=Times(),
    )


def make_evidence(finding: Finding, phrase: str = "bed", **fields: object) -> Evidence:
    return Evidence.model_validate(
        {"phrase": phrase, "mention": phrase, "polarity": "affirmed", "finding": finding, **fields}
    )


def test_markup_and_control_characters_come_out_as_text() -> None:
    assert show_text(HOSTILE) == "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27; &amp; ␀␛␡"


def test_line_breaks_and_tabs_stay() -> None:
    assert show_text("a\tb\nc") == "a\tb\nc"


@pytest.mark.parametrize(
    "html",
    [
        render_note(HOSTILE, HOSTILE),
        render_error(ServiceError(HOSTILE)),
        render_critiques({"A": HOSTILE, "B": HOSTILE}, is_writing=True),
        render_claims(HOSTILE, HOSTILE, [make_evidence("supported", HOSTILE)]),
        render_ranking(make_ranking(), [HOSTILE] * 3),
        render_matrix(make_ranking(), [HOSTILE] * 3),
        render_problems([(HOSTILE, HOSTILE)]),
        render_progress(1, 2, state=HOSTILE),
        render_costs({HOSTILE: 1}, HOSTILE),
        render_verdict(make_verdict(status="abstained", preferred=None, reason=HOSTILE, warnings=(HOSTILE,))),
    ],
)
def test_no_card_lets_markup_through(html: str) -> None:
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert not set("\x00\x1b\x7f") & set(html)


def test_a_decided_verdict_names_the_better_response_its_probability_and_margin() -> None:
    html = render_verdict(make_verdict())
    assert "Response A is better, with a probability of 90.0%" in html
    assert "P(A) is 90.0%, P(B) is 10.0%" in html
    assert "+0.800" in html
    assert "Both orders agree" in html


def test_orders_that_disagree_are_said_to() -> None:
    assert "The orders disagree" in render_verdict(make_verdict(consistent=False))


def test_a_tie_and_an_abstention_have_titles_of_their_own() -> None:
    tie = render_verdict(make_verdict(status="tie", preferred=None))
    abstained = render_verdict(
        make_verdict(
            status="abstained", preferred=None, probabilities=None, margin=None, consistent=None, reason="unread"
        )
    )
    assert "A tie." in tie
    assert "No verdict." in abstained
    assert "unread" in abstained
    assert "with a probability of" not in tie + abstained


def test_a_conflict_with_the_experts_is_shown() -> None:
    assert "The experts disagree." in render_verdict(make_verdict(expert_conflict=True))


@pytest.mark.parametrize("finding", list(FINDING_SIGNS))
def test_every_finding_has_a_sign_a_word_and_a_class(finding: Finding) -> None:
    html = render_claims("Response A", "A bed.", [make_evidence(finding)])
    assert f"vg-{finding}" in html
    assert f": {finding}" in html
    assert FINDING_SIGNS[finding] in html


def test_denied_objects_and_numbers_are_part_of_a_claim() -> None:
    html = render_claims(
        "A", "", [make_evidence("contradicted", polarity="denied"), make_evidence("supported", count=3)]
    )
    assert "no bed" in html
    assert "bed × 3" in html


def test_the_matrix_mirrors_each_match_and_leaves_the_rest_open() -> None:
    html = render_matrix(make_ranking(), ["one", "two", "three"])
    for chance in ("0.25", "0.75", "0.90", "0.10"):
        assert f">{chance}<" in html
    assert html.count(">·<") == 2  # one against three, both ways
    assert html.count(">–<") == 3


def test_the_ranking_lists_the_best_first() -> None:
    html = render_ranking(make_ranking(), ["one", "two", "three"])
    assert "Best: two" in html
    assert html.index(">two<") < html.index(">one<") < html.index(">three<")


def test_progress_tells_rate_time_left_and_failures() -> None:
    html = render_progress(30, 120, failed=2, rate_per_second=3.0)
    assert 'aria-valuenow="25"' in html
    assert "30 of 120 rows · 2 failed · 3.0 rows/s · about 30 s left" in html


def test_progress_without_a_total_shows_an_empty_bar() -> None:
    assert 'aria-valuenow="0"' in render_progress(0, 0)


def test_a_box_that_both_responses_claim_is_drawn_once_and_says_for_whom_it_speaks() -> None:
    found = Detection(phrase="bed", score=0.9, box=(1, 2, 3, 4), expert="shipped", model="expert")
    evidence = EvidencePair(
        A=(make_evidence("supported", detections=(found,)),), B=(make_evidence("contradicted", detections=(found,)),)
    )
    assert collect_detections(evidence) == [found]
    assert describe_claims("bed", evidence) == "A supported, B contradicted"
