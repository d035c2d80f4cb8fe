"""How many words an edit changes, and whether it says anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.vapr.wording import count_changed_words, says_the_same, split_words

TEXTS = st.lists(st.sampled_from(["a", "dog", "cat", "The", "red"]), max_size=8)


@pytest.mark.parametrize(
    ("one", "other", "number"),
    [("a dog", "a cat", 1), ("a dog", "A DOG", 0), ("a dog", "a big dog", 1), ("dog", "", 1), ("a b c", "b c d", 2)],
)
def test_changed_words_are_replaced_added_and_dropped_ones(one: str, other: str, number: int) -> None:
    assert count_changed_words(one.split(), other.split()) == number


@given(TEXTS, TEXTS)
def test_the_number_of_changed_words_is_a_distance(one: list[str], other: list[str]) -> None:
    number = count_changed_words(one, other)
    assert number == count_changed_words(other, one)
    assert abs(len(one) - len(other)) <= number <= max(len(one), len(other))
    assert (number == 0) == ([w.lower() for w in one] == [w.lower() for w in other])


@pytest.mark.parametrize(
    ("reference", "edited"),
    [
        ("There are two sofas.", "There are 2 couches."),
        ("The cup is gray.", "The cup is grey!"),
        ("I can see a dog, a cat and a bus.", "I can see a bus, a cat and a dog."),
        (
            "There is one boat. There are two dogs. There is one book.",
            "There is one book. There are two dogs. There is one boat.",
        ),
        ("In the image there is one dog and one cat.", "In the image there is one cat and one dog."),
        ("A small dog sits there.", "A dog sits there."),
        ("No dogs.", "Zero dogs."),
    ],
)
def test_what_words_alone_show_to_follow_from_the_reference(reference: str, edited: str) -> None:
    assert says_the_same(reference, edited)


@pytest.mark.parametrize(
    ("reference", "edited"),
    [
        ("There is a dog.", "There is a cat."),
        ("There is a dog.", "There are dogs."),
        ("There are two dogs and one cat.", "There are one dog and two cats."),
        ("The dog is left of the cat.", "The cat is left of the dog."),
        ("A red cup and a blue bowl.", "A blue cup and a red bowl."),
        ("There is no dog.", "There is dog."),
        ("There are more dogs than cats.", "There are more cats than dogs."),
        ("Yes.", "No."),
    ],
)
def test_what_says_something_else_is_no_repetition(reference: str, edited: str) -> None:
    assert not says_the_same(reference, edited)


def test_words_keep_their_hyphens_and_apostrophes() -> None:
    assert split_words("It's a well-known dog's bowl, n° 5.") == ["It's", "a", "well-known", "dog's", "bowl", "n", "5"]
