"""Extra yes-or-no questions: both words as often, worded as the source words its own."""

import random
from collections import Counter

import pytest

from training.vapr.yes_no import DEFAULT_STYLE, YesNoMaker, choose_word, learn_style, list_objects

OTHERS = [("What is there?", "There is a cat."), ("What is there?", "There are two buses.")]


@pytest.mark.parametrize(
    ("reference", "style"),
    [
        ("Yes, there is a dog.", "{word}, {there}."),
        ("No, I see that there is no traffic light in the image.", "{word}, I see that {there} in the image."),
        ("yes", "{small_word}"),
        ("No.", "{word}."),
        ("Yes, there is a dog and a cat.", None),
        ("Yes, the dog is red.", None),
        ("There is a dog.", None),
    ],
)
def test_the_wording_of_yes_no_answers_is_learned_from_the_source(reference: str, style: str | None) -> None:
    assert learn_style(reference) == style


def test_an_object_of_the_reference_is_asked_for_with_yes_as_answer() -> None:
    maker = YesNoMaker(OTHERS, with_experts=False)
    [pair] = maker.list_pairs("What is there?", "There is an apple.", is_yes=True, rng=random.Random(0))
    assert pair.question == "Is there an apple in the image?"
    assert (pair.chosen, pair.rejected) == ("Yes, there is an apple.", "No, there is no apple.")
    assert pair.is_said
    assert DEFAULT_STYLE == "{word}, {there}."


def test_an_object_of_other_rows_is_asked_for_with_no_as_answer_where_experts_can_check_it() -> None:
    reference = "There is a dog."
    with_experts, without = (YesNoMaker(OTHERS, with_experts=each) for each in (True, False))
    pairs = with_experts.list_pairs("What is there?", reference, is_yes=False, rng=random.Random(0))
    assert {pair.name for pair in pairs} <= {"cat", "bus"}
    assert pairs
    assert not any(pair.is_said for pair in pairs)
    assert {pair.chosen[:3] for pair in pairs} == {"No,"}
    assert without.list_pairs("What is there?", reference, is_yes=False, rng=random.Random(0)) == []


def test_what_the_reference_denies_needs_no_expert() -> None:
    maker = YesNoMaker(OTHERS, with_experts=False)
    [pair] = maker.list_pairs("What is there?", "There is no dog.", is_yes=False, rng=random.Random(0))
    assert (pair.name, pair.is_said) == ("dog", True)


def test_what_the_question_asks_already_is_not_asked_again() -> None:
    maker = YesNoMaker(OTHERS, with_experts=True)
    assert maker.list_pairs("Is there a dog?", "Yes, there is a dog.", is_yes=True, rng=random.Random(0)) == []


def test_answers_follow_the_style_of_the_source() -> None:
    maker = YesNoMaker([("Is there a cat?", "no"), *OTHERS], with_experts=False)
    [pair] = maker.list_pairs("What is there?", "There are scissors.", is_yes=True, rng=random.Random(0))
    assert (pair.question, pair.chosen, pair.rejected) == ("Are there scissors in the image?", "yes", "no")


def test_the_word_that_was_chosen_less_comes_next() -> None:
    assert choose_word(Counter(no=3, yes=2), random.Random(0))
    assert not choose_word(Counter(no=2, yes=3), random.Random(0))
    assert {choose_word(Counter(), random.Random(seed)) for seed in range(9)} == {True, False}


def test_objects_of_the_references_are_listed_with_their_articles() -> None:
    assert list_objects(["There are two buses and an apple.", "There is no dog."]) == ["an apple", "a bus"]
