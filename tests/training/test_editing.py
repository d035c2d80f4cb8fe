"""Guided errors: one thing made false, nothing else."""

import random

import pytest

from training.preferences.editing import RuleEditor

CORPUS = [
    ("What is there?", "There is a dog and a cat."),
    ("What is there?", "There is an umbrella."),
    ("How many?", "There are three zebras."),
    ("How many?", "I count one dog."),
    ("What does the sign say?", "The sign says EXIT."),
    ("What does the sign say?", "It says STOP."),
    ("Where?", "The dog is in the upper left."),
]


def edits(reference: str, question: str = "?") -> dict[str, str]:
    return {e.kind: e.text for e in RuleEditor(CORPUS).edit(question, reference, random.Random(0))}


@pytest.mark.parametrize(
    ("reference", "kind", "allowed"),
    [
        ("There is one dog.", "count", {"There are two dogs."}),
        ("There are two dogs.", "count", {"There is one dog.", "There are three dogs."}),
        ("I see 2 kitchen things.", "count", {"I see 1 kitchen thing.", "I see 3 kitchen things."}),
        ("There are two electronics.", "count", {"There is one electronic.", "There are three electronics."}),
        ("No, there is no dog.", "existence", {"Yes, there is a dog."}),
        ("Yes, there is an umbrella.", "existence", {"No, there is no umbrella."}),
        ("The sign says EXIT.", "text", {"The sign says STOP."}),
        ("The dog is left of the cat.", "relation", {"The dog is right of the cat.", "The dog is center of the cat."}),
        ("The dog is left of the cat.", "swap", {"The cat is left of the dog."}),
        ("Dogs sleep.", "object", {"Zebras sleep."}),
    ],
)  # fmt: skip
def test_each_kind_of_error_is_made_where_it_can_be(reference: str, kind: str, allowed: set[str]) -> None:
    assert edits(reference)[kind] in allowed


def test_articles_agree_with_what_is_put_in() -> None:
    found = {edits_with(seed) for seed in range(20)}
    assert "I see an umbrella." in found
    assert not any("a umbrella" in text or "an cat" in text for text in found)


def edits_with(seed: int) -> str:
    return next(e.text for e in RuleEditor(CORPUS).edit("?", "I see a dog.", random.Random(seed)) if e.kind == "object")


def test_a_wine_glass_is_no_material() -> None:
    assert "attribute" not in edits("I see a wine glass.")


def test_an_answer_is_borrowed_only_if_it_says_something_else() -> None:
    editor = RuleEditor([("Q", "Seen nowhere."), ("Q", "It was seen at noon by two."), ("Q", "By two, seen at noon.")])
    borrowed = [e.text for e in editor.edit("Q", "At noon, by two.", random.Random(0)) if e.kind == "borrowed"]
    assert borrowed == ["Seen nowhere."]


def test_no_error_repeats_another_or_the_reference() -> None:
    for _, reference in CORPUS:
        found = [e.text for e in RuleEditor(CORPUS).edit("?", reference, random.Random(1))]
        assert len(set(found)) == len(found)
        assert reference not in found


def test_what_no_rule_knows_is_left_alone() -> None:
    assert edits("Serendipity.") == {}
