"""Answers and the different ones among them."""

from typing import Any

from training.ipa.candidates import Answer, answers_of, candidates_of, first_of_each, key_of

SAMPLED: list[dict[str, Any]] = [
    {"a": [
        {"text": "A dog.", "fate": "kept", "perturbation": None},
        {"text": "A cat.", "fate": "kept", "perturbation": "blur 0.50"},
    ]},
    {"a": [
        {"text": "a cat", "fate": "kept", "perturbation": None},
        {"text": "a bird", "fate": "cut off", "perturbation": None},
    ]},
]  # fmt: skip
REVISED: dict[str, Any] = {"a": [{"text": "A dog!", "fate": "kept", "of": "A cat.", "feedback": "It is a dog."}]}


def test_answers_come_by_source_and_say_who_wrote_them() -> None:
    answers = list(answers_of("a", SAMPLED, REVISED))
    assert [(answer.source, answer.generator) for answer in answers] == [
        ("initial", 1), ("initial", 2), ("initial", 2), ("contrastive", 1), ("revised", 0),
    ]  # fmt: skip
    assert answers[3].perturbation == "blur 0.50"
    assert (answers[4].of, answers[4].feedback) == ("A cat.", "It is a dog.")
    assert list(answers_of("b", SAMPLED, REVISED)) == []


def test_candidates_are_each_different_answer_once_where_it_came_up_first() -> None:
    candidates = candidates_of(answers_of("a", SAMPLED, REVISED))
    assert [(candidate.text, candidate.source) for candidate in candidates] == [
        ("A dog.", "initial"),
        ("a cat", "initial"),
    ]


def test_texts_are_the_same_but_for_case_punctuation_and_spaces() -> None:
    assert key_of("A  dog!") == key_of("a dog")
    assert key_of("<") != key_of(">")
    assert first_of_each(["A dog.", "a cat", "a dog", "A cat!"]) == ["A dog.", "a cat"]


def test_an_answer_that_was_dropped_is_no_candidate() -> None:
    assert candidates_of([Answer(text="x", source="initial", fate="too long")]) == []
