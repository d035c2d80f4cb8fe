"""Objects in captions: CHAIR by hand, by known objects and by what experts found."""

import pytest

from genrm.types import Evidence, Finding, Polarity
from training.policy.chair import check_by_evidence, check_by_objects, count_objects, measure_captions

THERE = count_objects(["dog", "dog", "automobile", "gizmo", "Cat"])


def test_objects_are_counted_under_the_lexicons_names_and_unknown_ones_are_left_out() -> None:
    assert dict(THERE) == {"dog": 2, "car": 1, "cat": 1}


def test_a_caption_names_what_it_affirms_once_each() -> None:
    check = check_by_objects("There are two dogs. A dog sits by a horse. There is no cat and no bird.", THERE)
    assert check.named == ("dog", "horse")
    assert check.absent == ("horse",)
    assert (check.num_there, check.num_covered, check.num_words) == (3, 1, 17)
    assert (check.num_claims, check.num_true) == (4, 2)  # true: two dogs, no bird


@pytest.mark.parametrize(
    ("text", "num_true"),
    [("There is a dog.", 1), ("There are two dogs.", 1), ("There are three dogs.", 0), ("There is one dog.", 0),
     ("There are dogs.", 1), ("There are cars.", 1), ("There is no dog.", 0), ("There is no horse.", 1)],
)  # fmt: skip
def test_a_statement_is_true_if_the_image_holds_so_many(text: str, num_true: int) -> None:
    check = check_by_objects(text, THERE)
    assert (check.num_claims, check.num_true) == (1, num_true)


def test_figures_are_those_computed_by_hand() -> None:
    """Three captions: (dog, horse), (dog, car), (). One of three names what is absent, one of four names is absent, and
    of nine objects that are there (three each) 1 + 2 + 0 are named.
    """
    texts = ("A dog and a horse.", "A dog and a car.", "Nothing to see.")
    checks = [(str(number), check_by_objects(text, THERE)) for number, text in enumerate(texts)]
    values = {name: ratio.estimate()["value"] for name, ratio in measure_captions(checks).items()}
    assert values == pytest.approx(
        {"CHAIR_s": 1 / 3, "CHAIR_i": 1 / 4, "coverage": 3 / 9, "statements true": 3 / 4, "words": 13 / 3}
    )


def evidence(phrase: str, finding: Finding, polarity: Polarity = "affirmed") -> Evidence:
    return Evidence(phrase=phrase, mention=phrase, polarity=polarity, finding=finding)


def test_experts_tell_what_is_absent_and_what_they_cannot_check_counts_nowhere() -> None:
    check = check_by_evidence(
        "five words of a caption",
        [
            evidence("dog", "supported"),
            evidence("horse", "unsupported"),
            evidence("cat", "contradicted"),  # there, in another number
            evidence("gizmo", "unchecked"),
            evidence("bird", "contradicted", "denied"),
            evidence("The dog is red.", "contradicted").model_copy(update={"kind": "statement"}),  # no object
        ],
    )
    assert check.named == ("dog", "horse", "cat")
    assert check.absent == ("horse",)
    assert (check.num_claims, check.num_true, check.num_there, check.num_covered) == (4, 1, None, None)
    assert measure_captions([("image", check)])["coverage"].estimate()["num"] == 0
