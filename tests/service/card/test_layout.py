"""What a card says and where, for every state of a verdict and whatever the texts and images are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from experts.findings import FINDING_SIGNS
from genrm.types import Finding
from service.card.letters import Letters
from service.card.shapes import Layout, Picture, Rectangle, Stroke, Words
from service.card.text_block import write_colours
from service.openapi import EXAMPLE_RESPONSE

if TYPE_CHECKING:
    from tests.service.card.conftest import LayOut

ABSTAINED: dict[str, Any] = {
    "status": "abstained",
    "preferred": None,
    "probabilities": None,
    "margin": None,
    "consistent": None,
}
READINGS: Any = EXAMPLE_RESPONSE["readings"]
HOSTILE = [
    "مرحبا بالعالم שלום עולם " * 40,
    "図の中に犬は何匹いますか" * 200,
    "😀🦒👩‍👩‍👧🇫🇷👍🏽" * 100,
    "\x00\x1b[31m\x7f\x9f\u202egnp\u2066\u200b\ufeff\ud83d\ue000\U0010ffff",
    "$\\frac{1}{0}$ $x^ {{}} %s \\",
    "W" * 100_000,
    "word " * 100_000,
    "\n" * 5_000 + "x",
    "\u0301" * 5_000,
    " \t\u2028\u3000",
    "",
]


def texts_of(layout: Layout) -> str:
    return "\n".join(layout.read())


def is_inside(layout: Layout, shape: Rectangle | Picture) -> bool:
    return (
        shape.x >= 0
        and shape.y >= 0
        and shape.x + shape.width <= layout.width
        and shape.y + shape.height <= layout.height
    )


def check_inside(layout: Layout) -> None:
    """Nothing sticks out of the card; texts are measured with its own fonts."""
    letters = Letters(layout.read())
    for shape in layout.shapes:
        if isinstance(shape, Rectangle | Picture):
            assert is_inside(layout, shape), shape
        elif isinstance(shape, Words):
            width = letters.measure(shape.text, shape.size, bold=shape.bold)
            left = shape.x - {"left": 0.0, "center": width / 2, "right": width}[shape.align]
            assert left >= -1, shape
            assert left + width <= layout.width + 1, shape
            assert 0 < shape.y < layout.height, shape


def test_a_decided_verdict_says_who_is_better_and_how_likely(lay_out_card: LayOut) -> None:
    said = lay_out_card().read()
    assert "Response A is better" in said
    assert "with a probability of 97.0%" in said
    assert "A  97.0%" in said
    assert "3.0%  B" in said
    assert "margin P(A) − P(B) = +0.940" in said
    assert said.count("✓ preferred") == 1
    assert "How many dogs are there?" in said
    assert "Two dogs." in said
    assert "Three dogs and a cat." in said
    assert any(text.startswith("model judge · prompt") for text in said)


def test_the_bar_is_split_where_the_probability_is(lay_out_card: LayOut) -> None:
    def widths(**changes: Any) -> list[float]:
        shapes = lay_out_card(**changes).shapes
        return [shape.width for shape in shapes if isinstance(shape, Rectangle) and shape.height == 28]

    assert widths(probabilities={"A": 0.25, "B": 0.75}) == pytest.approx([0.25 * 936, 0.75 * 936])
    assert widths(probabilities={"A": 0.0, "B": 1.0}) == pytest.approx([936])


def test_a_negative_margin_has_a_minus_sign(lay_out_card: LayOut) -> None:
    assert "margin P(A) − P(B) = −0.500" in texts_of(lay_out_card(margin=-0.5))


def test_a_tie_prefers_nobody(lay_out_card: LayOut) -> None:
    said = texts_of(lay_out_card(status="tie", preferred=None, probabilities={"A": 0.5, "B": 0.5}, margin=0.0))
    assert "A tie" in said
    assert "neither response better" in said
    assert "preferred" not in said


def test_an_abstention_gives_its_reason_and_an_empty_bar(lay_out_card: LayOut) -> None:
    layout = lay_out_card(**ABSTAINED, reason="The label mass is 0.2.")
    said = texts_of(layout)
    assert "No verdict" in said
    assert "The judge abstains: The label mass is 0.2." in said
    assert "no probabilities" in said
    assert "margin" not in said
    assert any(isinstance(shape, Rectangle) and shape.is_hatched for shape in layout.shapes)


@pytest.mark.parametrize(
    ("consistent", "sign", "words"),
    [(True, "✓", "Both orders agree."), (False, "✗", "The orders disagree."), (None, "?", "Not both orders")],
)
def test_whether_orders_agree_is_told_in_a_sign_and_words(
    lay_out_card: LayOut,
    consistent: bool | None,  # noqa: FBT001 - a parameter of the test
    sign: str,
    words: str,
) -> None:
    said = lay_out_card(consistent=consistent, evidence={"A": [], "B": []}).read()
    assert sign in said
    assert any(text.startswith(words) for text in said)


def test_each_order_is_told_with_what_it_gave(lay_out_card: LayOut) -> None:
    one, other = READINGS
    silent = {**other, "probabilities": None}
    assert "A read first: P(A) 97.0% · B read first: no verdict" in lay_out_card(readings=[one, silent]).read()
    only = lay_out_card(readings=[one, silent], consistent=None)
    assert "Only the order with A first gave a verdict," in only.read()
    lower = {**one, "probabilities": {"A": 0.5, "B": 0.5}}
    several = texts_of(lay_out_card(readings=[one, lower, other, silent]))
    assert "A read first: P(A) 50.0% to 97.0% in 2 of 2 readings" in several
    assert "B read first: P(A) 97.0% to 97.0% in 1 of 2 readings" in several


@pytest.mark.parametrize("finding", list(FINDING_SIGNS))
def test_a_finding_has_a_colour_a_sign_and_a_word_and_is_marked_in_the_response(
    lay_out_card: LayOut, finding: Finding
) -> None:
    claim = {"phrase": "dog", "mention": "dogs", "polarity": "affirmed", "count": 2, "finding": finding}
    layout = lay_out_card(evidence={"A": [claim], "B": []}, consistent=None, a="Two dogs run.")
    colour, tint = write_colours(finding)
    assert f"dog × 2: {finding}" in layout.read()
    assert FINDING_SIGNS[finding] in layout.read()
    assert any(isinstance(shape, Rectangle) and shape.face == colour for shape in layout.shapes)
    lines = [shape for shape in layout.shapes if isinstance(shape, Stroke) and shape.colour == colour]
    letters = Letters([])
    start = next(shape.x for shape in layout.shapes if isinstance(shape, Words) and shape.text == "Two dogs run.")
    assert [line.x1 - start for line in lines] == pytest.approx([letters.measure("Two ", 16)])
    assert [line.x2 - start for line in lines] == pytest.approx([letters.measure("Two dogs", 16)])
    assert tint != colour


def test_a_statement_is_listed_and_not_marked_over_its_objects(lay_out_card: LayOut) -> None:
    words = {"phrase": "Two dogs run.", "mention": "Two dogs run", "polarity": "affirmed", "finding": "contradicted"}
    layout = lay_out_card(evidence={"A": [{**words, "kind": "statement"}], "B": []}, consistent=None, a="Two dogs run.")
    assert "“Two dogs run”: contradicted" in layout.read()
    colour, _ = write_colours("contradicted")
    assert not any(isinstance(shape, Stroke) and shape.colour == colour for shape in layout.shapes)


def test_findings_differ_in_the_dashes_of_their_marks(lay_out_card: LayOut) -> None:
    dashes = set()
    for finding in FINDING_SIGNS:
        claim = {"phrase": "dog", "mention": "dogs", "polarity": "affirmed", "finding": finding}
        colour = write_colours(finding)[0]
        shapes = lay_out_card(evidence={"A": [claim], "B": []}).shapes
        dashes |= {shape.dashes for shape in shapes if isinstance(shape, Stroke) and shape.colour == colour}
    assert len(dashes) == len(FINDING_SIGNS)


def test_boxes_say_what_each_response_s_claim_is_worth(lay_out_card: LayOut) -> None:
    assert "dog 0.90  A✓ B✗" in lay_out_card().read()


def test_without_evidence_the_card_says_so(lay_out_card: LayOut) -> None:
    said = texts_of(lay_out_card(evidence={"A": [], "B": []}))
    assert said.count("No claims about objects") == 2
    assert "No boxes: no expert was asked" in said


def test_claims_over_the_limit_are_counted(lay_out_card: LayOut) -> None:
    claim = {"phrase": "dog", "mention": "dogs", "polarity": "affirmed", "finding": "unchecked"}
    assert "and 1 more claim" in lay_out_card(evidence={"A": [claim] * 9, "B": []}).read()
    assert "and 12 more claims" in lay_out_card(evidence={"A": [claim] * 20, "B": []}).read()


def test_a_long_critique_ends_in_an_ellipsis_that_says_how_long_it_is(lay_out_card: LayOut) -> None:
    said = texts_of(lay_out_card(critique="It is so. " * 1_000))
    assert "… (10,000 characters in all)" in said
    assert "…" not in texts_of(lay_out_card(critique="It is so."))


def test_a_verdict_without_critique_says_why(lay_out_card: LayOut) -> None:
    assert "The judge wrote no critique." in lay_out_card(critique="").read()
    silent = [{**reading, "completion_tokens": 0} for reading in READINGS]
    assert "fast mode" in texts_of(lay_out_card(critique="", readings=silent))


def test_conflicts_votes_and_warnings_are_told(lay_out_card: LayOut) -> None:
    warnings = [f"Expert {number} was too slow." for number in range(5)]
    said = texts_of(lay_out_card(expert_conflict=True, probability_source="votes", warnings=warnings))
    assert "The experts disagree" in said
    assert "share of votes" in said
    assert "Expert 0 was too slow." in said
    assert "4 more notes are in the verdict's JSON." in said


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_stays_on_the_card_in_characters_that_can_be_seen(lay_out_card: LayOut, text: str) -> None:
    box = {"phrase": text, "score": 0.9, "box": [10, 10, 90, 90], "expert": text, "model": text}
    claim = {"phrase": text, "mention": text, "polarity": "affirmed", "finding": "supported", "detections": [box]}
    changes: dict[str, Any] = {**ABSTAINED, "reason": text, "critique": text, "warnings": [text], "model": text}
    layout = lay_out_card(question=text, a=text, b=text, evidence={"A": [claim], "B": [claim]}, **changes)
    check_inside(layout)
    assert layout.height < 4_000
    assert not {letter for shown in layout.read() for letter in shown} & set("\x00\x1b\x7f\x9f\u202e\u2066\n\t\ud83d")


@pytest.mark.parametrize("size", [(5000, 50), (50, 5000), (8, 8), (1, 1), (4000, 3000)])
def test_an_image_of_any_shape_stays_on_the_card(lay_out_card: LayOut, size: tuple[int, int]) -> None:
    layout = lay_out_card(images=(Image.new("RGB", size, "teal"),))
    check_inside(layout)
    (picture,) = (shape for shape in layout.shapes if isinstance(shape, Picture))
    assert min(picture.width, picture.height) >= 4
    assert max(picture.image.size) <= 2 * 936


def test_several_images_stand_side_by_side_and_the_rest_is_counted(lay_out_card: LayOut) -> None:
    images = tuple(Image.new("RGB", (60, 40 + number), "teal") for number in range(8))
    layout = lay_out_card(images=images)
    check_inside(layout)
    places = {(shape.x, shape.y) for shape in layout.shapes if isinstance(shape, Picture)}
    assert len(places) == 6
    assert "image 6" in layout.read()
    assert "2 more images are not shown." in " ".join(layout.read())


def test_no_image_leaves_no_hole(lay_out_card: LayOut) -> None:
    layout = lay_out_card(images=())
    check_inside(layout)
    assert not any(isinstance(shape, Picture) for shape in layout.shapes)
    assert layout.height < lay_out_card().height


def test_boxes_at_one_place_have_labels_at_several(lay_out_card: LayOut) -> None:
    box = {"phrase": "dog", "score": 0.9, "box": [100, 200, 300, 400], "expert": "e", "model": "m"}
    boxes = [{**box, "expert": name} for name in "ef"]
    claim = {"phrase": "dog", "mention": "dogs", "polarity": "affirmed", "finding": "supported", "detections": boxes}
    shapes = lay_out_card(evidence={"A": [claim], "B": []}).shapes
    places = [(shape.x, shape.y) for shape in shapes if isinstance(shape, Words) and shape.text == "dog 0.90  A✓"]
    assert len(places) == len(set(places)) == 2
