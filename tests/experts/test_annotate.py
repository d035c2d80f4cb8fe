"""Annotated pictures: every detection has a box in the colour of its claim, and every claim a line."""

import numpy as np
from PIL import Image, ImageFont

from experts.annotate import _describe, _find_font, annotate
from experts.findings import FINDING_COLOURS, describe_claim, describe_ground
from genrm.types import Detection, Evidence, Finding


def evidence(finding: Finding, *boxes: tuple[float, float, float, float]) -> Evidence:
    found = tuple(Detection(phrase="dog", score=0.9, box=box, expert="e", model="m") for box in boxes)
    return Evidence(
        phrase="dog", mention="dog", polarity="affirmed", finding=finding, probability=0.9, detections=found
    )


def has_colour(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture) == colour).all(axis=-1).any())


def test_a_box_is_drawn_in_the_colour_of_its_finding_and_scaled_with_a_small_image() -> None:
    picture = annotate(Image.new("RGB", (100, 50)), [evidence("contradicted", (10, 20, 50, 40))])
    assert picture.width == 480
    assert picture.getpixel((int(30 * 4.8), int(40 * 4.8))) == FINDING_COLOURS["contradicted"]


def test_boxes_of_other_images_are_not_drawn() -> None:
    elsewhere = evidence("contradicted", (10, 20, 50, 40))
    boxes = tuple(box.model_copy(update={"image": 1}) for box in elsewhere.detections)
    picture = annotate(Image.new("RGB", (100, 50)), [elsewhere.model_copy(update={"detections": boxes})])
    assert not has_colour(picture.crop((0, 0, 480, 240)), FINDING_COLOURS["contradicted"])


def test_the_image_itself_is_not_changed() -> None:
    image = Image.new("RGB", (600, 500))
    annotate(image, [evidence("supported", (10, 20, 50, 40))])
    assert image.getextrema() == ((0, 0), (0, 0), (0, 0))


def test_a_claim_without_a_box_has_its_line_below_the_image() -> None:
    picture = annotate(Image.new("RGB", (600, 500)), [evidence("unsupported")])
    strip = picture.crop((0, 500, 600, picture.height))
    assert picture.height > 500
    assert has_colour(strip, FINDING_COLOURS["unsupported"])


def test_a_text_without_claims_says_so() -> None:
    assert annotate(Image.new("RGB", (600, 500)), []).height > 500


def test_no_two_findings_share_a_colour() -> None:
    assert len(set(FINDING_COLOURS.values())) == 4


def test_of_a_statement_nothing_is_said_to_be_found() -> None:
    known = Evidence(
        kind="statement", phrase="It is red.", mention="It is red", polarity="affirmed", finding="contradicted",
        probability=0.04,
    )  # fmt: skip
    assert _describe(known) == "“It is red”: contradicted, P = 0.04"
    assert (describe_claim(known), describe_ground(known)) == ("“It is red”", "4% likely true")


def test_a_claim_wider_than_the_picture_is_broken_into_lines() -> None:
    def draw(words: int) -> Image.Image:
        statement = evidence("contradicted").model_copy(
            update={"kind": "statement", "mention": "The sign says " * words}
        )
        return annotate(Image.new("RGB", (480, 480)), [statement])

    short, long = draw(1), draw(40)
    assert long.height > short.height + 100
    assert not (np.asarray(long)[485:, -4:] != 255).any(), "nothing is cut off at the border"


def test_the_font_has_the_signs_that_claims_are_written_with() -> None:
    font = ImageFont.truetype(_find_font(), size=20)
    missing = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(sign)) != missing for sign in "×“”")


def test_labels_stay_inside_the_picture_and_a_narrow_one_has_room_for_its_legend() -> None:
    picture = Image.new("RGB", (60, 480), "white")
    item = evidence("unsupported", (52.0, 470.0, 59.0, 479.0))
    shown = np.asarray(annotate(picture, [item]))
    colour = np.array(FINDING_COLOURS["unsupported"])
    patch = (shown == colour).all(axis=2)
    rows, columns = np.nonzero(patch[:480])
    assert columns.min() < 10  # the label is longer than there is room behind the box
    assert rows.min() < 470
    assert shown.shape[1] > 100
    assert not patch[480:, -8:].any()
