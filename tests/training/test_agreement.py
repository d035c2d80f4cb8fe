"""Which critiques say something of the picture that experts contradict."""

import pytest

from genrm.types import Sighting
from training.agreement import contradicts_experts

FOUND = (
    Sighting(phrase="dog", places=()),
    Sighting(phrase="person", places=("middle left",)),
    Sighting(phrase="toilet", places=("upper center", "lower left")),
)


@pytest.mark.parametrize(
    "critique",
    [
        "Seen toilet: 1 upper center, 2 lower left; dog: none.",
        "A toilet is at the bottom left, and another toilet at the top center.",
        "There are two toilets and a person. There is no dog.",
        "Somebody is in the middle left.",
        "Responses: dog upper left First, dog lower right Second.",
        "The first response says that there is a dog. The second claims three toilets.",
        "Seen furniture: 1 toilet upper center, 2 bed lower right.",
        "A cat is at the upper left.",
        "Toilet: red mat, no mat.",
        "There is no small toilet.",
        "",
    ],
)
def test_what_experts_bear_out_or_were_not_asked_about_may_stay(critique: str) -> None:
    assert not contradicts_experts(critique, FOUND)


@pytest.mark.parametrize(
    "critique",
    [
        "Seen toilet: 1 upper center.",
        "Seen toilet: 1 upper center, 2 lower left, 3 lower left.",
        "Seen toilet: 1 upper center, 2 lower right.",
        "Seen toilet: none.",
        "Seen dog: 1 upper left.",
        "Seen dog: red mat.",
        "Seen furniture: 1 toilet middle center, 2 bed lower right.",
        "The image shows three toilets.",
        "There is no person in the picture.",
        "I can see a dog.",
        "The first response says that there is a dog. Indeed there is a dog.",
    ],
)
def test_a_critique_that_sees_what_experts_do_not_is_contradicted(critique: str) -> None:
    assert contradicts_experts(critique, FOUND)


def test_nothing_is_contradicted_where_no_expert_was_asked() -> None:
    assert not contradicts_experts("Seen dog: 1 upper left.", ())
