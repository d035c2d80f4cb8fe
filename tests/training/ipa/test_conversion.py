"""Forms of questions, clear answers, and what remains of a choice without its options."""

import pytest

from training.ipa.conversion import find_form, find_option, open_up, read_clear_answer, split_options

LINES = "What is on the mat?\nOptions:\nA. a dog\nB. a cat\nC. a hot dog\nAnswer with the option's letter directly."
OPTIONS = ("a dog", "a cat", "a hot dog")


@pytest.mark.parametrize(
    "question",
    [
        LINES,
        "What is on the mat? (A) a dog (B) a cat (C) a hot dog",
        "What is on the mat?\nA) a dog\nB) a cat\nC) a hot dog\nPlease choose one of the options.",
        "What is on the mat? Choices: A: a dog, B: a cat, C: a hot dog",
    ],
)
def test_options_are_found_however_they_are_lettered(question: str) -> None:
    assert split_options(question) == ("What is on the mat?", OPTIONS)


@pytest.mark.parametrize("question", ["Is it a dog or a cat?", "Who is A. Lincoln?", "What is in row B. of the table?"])
def test_a_question_without_two_options_from_a_on_has_none(question: str) -> None:
    assert split_options(question) == (question, ())


def test_what_follows_the_options_stays_in_the_question() -> None:
    stem, options = split_options("What is it?\nA. red\nB. blue\nSay why.")
    assert (stem, options) == ("What is it? Say why.", ("red", "blue"))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("B", 1), ("(B)", 1), ("B. a cat", 1), ("The answer is B.", 1), ("Answer: (C)", 2), ("It is a cat.", 1),
        ("a hot dog", 2), ("It is a dog.", 0), ("A cat is on the mat.", 1), ("a dog or a cat", None), ("A bird.", None),
        ("H", None), ("The answer is A or the answer is B.", None), ("", None),
    ],
)  # fmt: skip
def test_an_answer_takes_an_option_by_letter_or_by_words(text: str, number: int | None) -> None:
    assert find_option(text, OPTIONS) == number


@pytest.mark.parametrize("reference", ["B", "B. a cat", "a cat", "The answer is (B)."])
def test_a_choice_becomes_an_open_question_about_the_right_option(reference: str) -> None:
    assert open_up(LINES, reference) == ("What is on the mat?", "a cat")


@pytest.mark.parametrize(
    ("question", "reference"),
    [
        (LINES, "a bird"),
        (LINES, "H"),
        ("What is on the mat?", "a cat"),
        ("Which of the following is on the mat?\nA. a dog\nB. a cat", "A"),
        ("A. a dog\nB. a cat", "A"),
    ],
)
def test_a_choice_that_needs_its_options_or_is_none_stays_as_it_is(question: str, reference: str) -> None:
    assert open_up(question, reference) is None


@pytest.mark.parametrize(
    ("question", "reference", "form"),
    [
        (LINES, "B", "choice"),
        (LINES, "none of them", "open"),
        ("Is there a dog?", "Yes, there is a dog.", "yes-no"),
        ("Is there a dog?", "no", "yes-no"),
        ("What is there?", "There is no dog.", "open"),
        ("What is there?", "Nothing.", "open"),
    ],
)
def test_a_question_has_the_form_that_its_reference_answers(question: str, reference: str, form: str) -> None:
    assert find_form(question, reference)[0] == form


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes, there is a dog.", "yes"), ("No.", "no"), ("I looked twice. No, there is none.", "no"),
        ("The answer is yes", "yes"), ("There is no dog.", None), ("Yes and no.", None), ("Yes. No.", None),
        ("Notably, there is a dog.", None), ("Perhaps yes, perhaps not", None), ("", None),
    ],
)  # fmt: skip
def test_a_yes_or_no_is_clear_where_a_sentence_begins_with_it(text: str, answer: str | None) -> None:
    assert read_clear_answer(text, "yes-no", ()) == answer


def test_an_open_question_asks_for_no_clear_answer() -> None:
    assert read_clear_answer("Yes.", "open", ()) is None
    assert read_clear_answer("It is a cat.", "choice", OPTIONS) == "B"
