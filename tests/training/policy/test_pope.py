"""POPE: answers are read as its script reads them, absent objects are absent, figures are its five."""

import random

import pytest

from training.policy.pope import (
    SAMPLINGS,
    ObjectCounts,
    PopeAnswer,
    YesNo,
    ask_for,
    choose_absent,
    is_plain,
    measure_pope,
    parse_answer,
)


@pytest.mark.parametrize(
    ("text", "read", "plain"),
    [
        ("Yes, there is a dog.", "yes", True),
        ("No, there is no dog.", "no", True),
        ("There is no dog. Yes.", "no", True),
        ("I do not see a dog", "no", True),
        ("Yes. There is no cat.", "yes", True),  # what follows the first full stop is not read
        ("no", "no", True),
        ("NO", "yes", False),  # only these three spellings
        ("None are there", "yes", False),
        ("There is nothing, no", "no", True),
        ("No\nthere is none", "yes", False),  # words are split at spaces only
        ("A dog sits there", "yes", False),
        ("", "yes", False),
    ],
)
def test_an_answer_is_read_as_the_script_reads_it(text: str, read: YesNo, *, plain: bool) -> None:
    assert parse_answer(text) == read
    assert is_plain(text) == plain


COUNTS = ObjectCounts.count(
    [{"dog", "cat"}] * 6 + [{"dog", "bird"}] * 2 + [{f"thing {i}", "car"} for i in range(12)] + [{"boat"}]
)


def draw(sampling: str, present: set[str], num_draws: int = 200) -> set[str]:
    [chosen] = [name for name in SAMPLINGS if name == sampling]
    rng = random.Random(0)
    return {choose_absent(chosen, present, COUNTS, rng)[0] for _ in range(num_draws)}


def test_absent_objects_are_not_there_and_each_is_drawn_once() -> None:
    for sampling in SAMPLINGS:
        for present in ({"dog"}, {"car", "cat"}, set(COUNTS.images)):
            drawn = choose_absent(sampling, present, COUNTS, random.Random(1), num=30)
            assert len(drawn) == len(set(drawn)) == len(COUNTS.images) - len(present)
            assert not present & set(drawn)


def test_random_ones_are_any_and_popular_ones_the_ten_most_frequent() -> None:
    """Frequent are dog, car, cat and bird; six of the thirteen that come once fill up the ten."""
    assert draw("random", {"dog"}) == COUNTS.images.keys() - {"dog"}
    popular = [choose_absent("popular", {"dog"}, COUNTS, random.Random(seed), num=10) for seed in range(20)]
    assert all({"car", "cat", "bird"} <= set(names) for names in popular)
    assert draw("popular", {"dog"}) >= {"car", "cat", "bird"}


def test_adversarial_ones_come_most_often_with_those_that_are_there() -> None:
    assert draw("adversarial", {"dog"}) == {"cat"}
    assert draw("adversarial", {"dog", "cat"}) == {"bird"}
    assert choose_absent("adversarial", {"dog"}, COUNTS, random.Random(0), num=2) == ["cat", "bird"]


def test_a_question_has_the_article_of_its_object() -> None:
    assert [ask_for(name) for name in ("dog", "apple", "scissors", "gizmo")] == [
        "Is there a dog in the image?",
        "Is there an apple in the image?",
        "Is there scissors in the image?",
        "Is there a gizmo in the image?",
    ]


def test_figures_are_those_computed_by_hand() -> None:
    """Said yes: a (there), b (there), d (absent), and e by default. So 2 hits, 2 false alarms, 1 miss, 1 rejection:
    accuracy 3/6, precision 2/4, recall 2/3, F1 = 4 / (4 + 3), yes ratio 4/6.
    """
    told: list[tuple[str, YesNo, str]] = [
        ("a", "yes", "Yes."), ("b", "yes", "Yes, it is."), ("c", "yes", "No."), ("d", "no", "Yes."),
        ("e", "no", "A lovely picture."), ("f", "no", "There is no dog."),
    ]  # fmt: skip
    figures = measure_pope([PopeAnswer(image=image, label=label, text=text) for image, label, text in told])
    values = {name: ratio.estimate()["value"] for name, ratio in figures.items()}
    assert values == pytest.approx(
        {"accuracy": 3 / 6, "precision": 2 / 4, "recall": 2 / 3, "F1": 4 / 7, "yes ratio": 4 / 6,
         "neither yes nor no": 1 / 6}
    )  # fmt: skip
