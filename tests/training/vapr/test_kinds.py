"""The kind of error follows the task, and kinds are made equally often."""

import random
from collections import Counter

import pytest

from training.vapr.kinds import KINDS, KindChooser, list_kinds, read_yes_no


@pytest.mark.parametrize(
    ("question", "reference", "kinds"),
    [
        ("Is there a dog?", "Yes, there is a dog.", ["existence"]),
        ("Is there a dog?", "No", ["existence"]),
        ("How many dogs are there?", "There are two dogs.", ["count"]),
        ("What colour is the cup?", "The cup is red.", ["attribute"]),
        ("Where is the dog?", "The dog is in the upper left.", ["relation"]),
        ("Are there more dogs or more cats?", "There are more dogs than cats.", ["reasoning"]),
        ("What does the sign say?", "The text on the sign is 15.", ["text"]),
        ("Describe the image.", "There is an orange.", ["object", "existence"]),
        ("Describe the image.", "A red cup is left of two dogs.", ["object", "attribute", "relation", "count", "swap"]),
        ("What is in the image?", "I can see a dog and a cat.", ["object"]),
    ],
)
def test_the_kind_of_error_follows_the_task(question: str, reference: str, kinds: list[str]) -> None:
    assert list_kinds(question, reference) == kinds


def test_an_object_is_only_added_where_the_length_allows_it() -> None:
    reference = "A dog sits beside a man on a bench in a quiet park full of green trees."
    assert "addition" not in list_kinds("Describe the image.", reference, most_added_words=2)
    assert "addition" in list_kinds("Describe the image.", reference, most_added_words=3)


@pytest.mark.parametrize("reference", ["", "…", "Fine.", "12", "Ein Hund."])
def test_every_reference_has_a_kind_of_error(reference: str) -> None:
    found = list_kinds("?", reference)
    assert found
    assert set(found) <= set(KINDS)


def test_kinds_that_were_made_less_come_first() -> None:
    chooser = KindChooser(Counter({"object": 5, "count": 2, "swap": 9}))
    assert chooser.choose(["object", "count", "swap"], [], random.Random(0)) == "count"


def test_another_kind_is_tried_before_the_same_one_again() -> None:
    chooser = KindChooser(Counter({"object": 5, "count": 2}))
    assert chooser.choose(["object", "count"], ["count"], random.Random(0)) == "object"
    assert chooser.choose(["count"], ["count"], random.Random(0)) == "count"


def test_equally_frequent_kinds_are_drawn_by_the_seed() -> None:
    drawn = {KindChooser().choose(["object", "count", "swap"], [], random.Random(seed)) for seed in range(20)}
    assert drawn == {"object", "count", "swap"}


@pytest.mark.parametrize(
    ("text", "word"), [("Yes, it is.", "yes"), ("no", "no"), ("Nobody.", None), ("", None), (" NO!", "no")]
)
def test_an_answer_begins_with_yes_or_no_as_a_word(text: str, word: str | None) -> None:
    assert read_yes_no(text) == word
