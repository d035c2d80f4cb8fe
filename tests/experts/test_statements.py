"""Which sentences of a text are put to a checker, and what its probabilities say about them."""

import pytest

from experts.statements import MAX_STATEMENT_BYTES, find_statements, verify_statements
from genrm.types import Evidence, Finding


def found_of(mention: str, finding: Finding, phrase: str = "") -> Evidence:
    return Evidence(phrase=phrase or mention, mention=mention, polarity="affirmed", finding=finding)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("The dog is on a red mat. The sign says 24.", ("The dog is on a red mat.", "The sign says 24.")),
        ("The sign says 24! The sign says 24", ("The sign says 24.",)),
        ("- The mat is red\n* **The mat** is\n  blue", ("The mat is red.", "The mat is blue.")),
        ('The sign says "STOP. Now" \n', ('The sign says "STOP. Now".',)),
        ("“STOP” is written there.", ("“STOP” is written there.",)),
        ("Is the mat red? What colour has it?", ()),
        ("Yes. On top. 24.", ()),
        ("", ()),
    ],
)
def test_sentences_that_state_something_are_found_each_once(text: str, statements: tuple[str, ...]) -> None:
    assert find_statements(text) == statements


def test_a_sentence_that_leans_on_the_one_before_is_left_out_and_at_the_beginning_leans_on_the_question() -> None:
    assert find_statements("The dog sleeps here. It is on a red mat. There is also a cat.") == ("The dog sleeps here.",)
    assert find_statements("It is on a red mat.") == ("It is on a red mat.",)


def test_what_the_full_stop_of_an_abbreviation_cuts_in_two_is_no_statement() -> None:
    text = "Mr. Smith is by the car. A man of approx. 50 stands there. The car is red."
    assert find_statements(text) == ("The car is red.",)


def test_numbers_are_left_to_the_detectors() -> None:
    assert find_statements("There are two dogs. One dog is brown. A dog is brown.") == ("A dog is brown.",)


def test_what_detectors_found_false_is_not_counted_twice() -> None:
    text = "The puppy is on a red mat. The cat is on a blue mat. The dogcatcher is here."
    assert find_statements(text, [found_of("puppy", "supported", "dog")]) == (
        "The puppy is on a red mat.",
        "The cat is on a blue mat.",
        "The dogcatcher is here.",
    )
    for finding in ("unsupported", "contradicted"):
        assert find_statements(text, [found_of("puppy", finding, "dog")])[0] == "The cat is on a blue mat."
    assert (
        len(find_statements("Dogs are cute animals. The dog is brown.", [found_of("Dogs", "unsupported", "dog")])) == 0
    )


def test_a_very_long_sentence_is_unchecked() -> None:
    assert find_statements("The mat is " + "very " * (MAX_STATEMENT_BYTES // 4) + "red.") == ()


@pytest.mark.parametrize(
    ("probability", "finding"),
    [(0.97, "supported"), (0.65, "unchecked"), (0.5, "unchecked"), (0.35, "unchecked"), (0.34, "contradicted")],
)
def test_near_even_odds_nothing_is_said(probability: float, finding: str) -> None:
    (evidence,) = verify_statements(["The mat is red."], [{"The mat is red.": probability}])
    assert evidence.finding == finding
    assert evidence.probability == (None if finding == "unchecked" else probability)
    assert (evidence.kind, evidence.mention, evidence.detections) == ("statement", "The mat is red", ())


def test_several_checkers_are_averaged_and_without_an_answer_a_statement_is_unchecked() -> None:
    red, blue = "The mat is red.", "The mat is blue."
    answers = [{red: 0.2}, {red: 0.0}]
    both, none = verify_statements([red, blue], answers)
    assert (both.finding, both.probability) == ("contradicted", 0.1)
    assert (none.finding, none.probability) == ("unchecked", None)
