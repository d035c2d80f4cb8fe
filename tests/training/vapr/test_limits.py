"""What an edit must keep of its reference."""

import pytest

from genrm.errors import ModelLoadError
from genrm.shipped import base_folder
from training.vapr.limits import LimitFate, Limits, check_limits, describe_style, open_counter

LONG = "There is a dog on the left and a cat on the right of a long wooden table under a lamp in a room with a door."


def check(reference: str, edited: str, **values: object) -> LimitFate | None:
    limits = Limits.model_validate(values)
    return check_limits(reference, edited, limits, open_counter(limits))


@pytest.mark.parametrize(
    ("reference", "edited", "fate"),
    [
        ("Two dogs.", "Three dogs.", None),
        ("Yes.", "No.", None),
        ("There are skis.", "There are no skis.", None),  # one word more is always allowed
        ("There are skis.", "There are no red skis.", "length off limits"),
        (LONG, LONG.replace("a door", "a big red door"), None),
        (LONG, LONG.replace("a door", "a big old red door"), "length off limits"),
        ("There is a dog.", "there is a dog", "unchanged"),
        ("There is a dog.", "", "unchanged"),
        (LONG, LONG.replace("dog on the left", "bus at one side").replace("cat on the right", "car at no time")
               .replace("wooden table", "metal shelf"), "too much changed"),
        ("There is a dog.", "Here is a cat.", "style moved"),
        ("There is a dog.", "There is a cat!", "style moved"),
        ("There is a dog.", "there is a cat.", "style moved"),
        ("There is a dog.", "There is a **cat**.", "style moved"),
        ("There is a dog. It sits.", "There is a dog, it runs.", "style moved"),
        ("A dog sits.", "Two dogs sit.", None),
        ("Red.", "Blue.", None),
    ],
)  # fmt: skip
def test_an_edit_keeps_length_words_and_style(reference: str, edited: str, fate: str | None) -> None:
    assert check(reference, edited) == fate


def test_limits_can_be_widened_and_the_style_check_switched_off() -> None:
    assert check("There are skis.", "There are no red skis.", max_length_ratio=0.7) is None
    assert check("There is a dog.", "Here is a cat.", style=False) is None
    assert check("There is a dog.", "There is a cat.", free_edits=0, max_edit_ratio=0.1) == "too much changed"


def test_tokens_of_a_model_are_counted_where_one_is_named() -> None:
    count = open_counter(Limits(tokenizer=str(base_folder())))
    assert count("There is a dog.") > 4  # the full stop is a token


def test_a_tokenizer_that_is_not_there_is_named_with_its_setting() -> None:
    with pytest.raises(ModelLoadError, match=r"no/such/folder.*limits\.tokenizer"):
        open_counter(Limits(tokenizer="no/such/folder"))


def test_style_is_the_same_for_answers_that_differ_in_what_they_say() -> None:
    assert describe_style("Yes, there is a dog.") == describe_style("No, there is no dog.")
    assert describe_style("- a dog\n- a cat") == describe_style("- a bus\n- a cat")
    assert describe_style("- a dog\n- a cat") != describe_style("a dog, a cat")
