"""Which critiques repeat what two responses differ in."""

import pytest

from training.differences import names_difference
from training.sources import Pair


@pytest.mark.parametrize(
    ("one", "other", "critique", "named"),
    [
        ("The cake is on the left.", "The cake is on the right.", "Right and LEFT.", True),
        ("The cake is on the left.", "The cake is on the right.", "It is on the left.", False),
        ("The cake is on the left.", "The cake is on the right.", "The cake is small.", False),
        ("A dog and a red mat.", "A dog.", "Only the first names a mat.", True),
        ("A dog and a red mat.", "A dog.", "There is a dog.", False),
        ("Yes, there is a dog.", "No, there is no dog.", "The second denies it.", True),
        ("The dog is above the cat.", "The cat is above the dog.", "Whatever.", True),
        ("Drei Bären.", "Vier Bären.", "Es sind drei, nicht vier.", True),
        ("红色的垫子", "蓝色的垫子", "图中是红色, 不是蓝色。", True),
        ("红色的垫子", "蓝色的垫子", "图中有一只猫。", False),
        ("", "", "", True),
    ],
)
def test_a_critique_names_what_each_response_says_by_itself(
    one: str, other: str, critique: str, *, named: bool
) -> None:
    pair = Pair(id="p", question="?", response_a=one, response_b=other, label="A", load_images=tuple)
    assert names_difference(critique, pair) is named
