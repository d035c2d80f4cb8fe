"""Which rows become items, and which choices lose their options."""

from typing import Any

from training.ipa.items import make_items
from training.sources import Example

CHOICE = "What is it?\nA. a dog\nB. a cat"


def example(name: str, question: str = CHOICE, reference: str | None = "B", **record: Any) -> Example:
    return Example(id=name, question=question, reference=reference, load_images=tuple, record=record)


def test_a_choice_that_is_made_open_has_the_options_text_as_reference() -> None:
    items, counts = make_items([example("a", group="g")], open_ended_share=1.0, seed=0)
    assert (items[0].question, items[0].reference, items[0].form) == ("What is it?", "a cat", "open")
    assert items[0].was_opened
    assert items[0].group == "g"
    assert counts == {"item: choice made open": 1}


def test_a_share_of_the_choices_is_made_open_and_always_the_same_ones() -> None:
    examples = [example(f"r{number}") for number in range(200)]
    items, counts = make_items(examples, open_ended_share=0.5, seed=0)
    assert 70 < counts["item: choice made open"] < 130
    assert counts["item: choice"] == 200 - counts["item: choice made open"]
    assert [item.was_opened for item in make_items(examples[::-1], open_ended_share=0.5, seed=0)[0]][::-1] == [
        item.was_opened for item in items
    ]
    kept = next(item for item in items if not item.was_opened)
    assert (kept.form, kept.options) == ("choice", ("a dog", "a cat"))


def test_a_row_without_reference_is_counted_and_left_out() -> None:
    items, counts = make_items(
        [example("a", reference=None), example("b", "Is it a dog?", "Yes.")], open_ended_share=1.0, seed=0
    )
    assert [item.id for item in items] == ["b"]
    assert counts == {"row has no reference": 1, "item: yes-no": 1}
