"""A card becomes a file of the kind that its name says, and what cannot be written is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from service.card.content import build_content
from service.card.drawing import DOTS_PER_INCH, CardPathError, check_path, write_card
from service.card.images import read_images
from service.card.layout import WIDTH, lay_out
from service.openapi import EXAMPLE_RESPONSE
from service.schemas import JudgeResponse

VERDICT = JudgeResponse.model_validate(EXAMPLE_RESPONSE)
TEXTS = {"question": "How many dogs? $x$", "a": "Two dogs. שלום \x00", "b": "Three dogs 🦒 犬 and a cat."}
IMAGE = Image.new("RGB", (640, 480), (10, 120, 130))


def test_a_png_is_as_large_as_its_layout_and_shows_the_image(tmp_path: Path) -> None:
    write_card(VERDICT, [IMAGE], tmp_path / "card.png", **TEXTS)
    height = lay_out(build_content(VERDICT, [IMAGE], **TEXTS)).height
    with Image.open(tmp_path / "card.png") as card:
        assert card.format == "PNG"
        assert card.width == WIDTH * DOTS_PER_INCH / 100
        assert card.height == pytest.approx(height * DOTS_PER_INCH / 100, abs=1)
        colours = {colour for _, colour in card.convert("RGB").getcolors(1_000_000) or []}
    assert {(10, 120, 130), (0, 114, 178), (165, 74, 0), (255, 255, 255)} <= colours


@pytest.mark.parametrize(("name", "start"), [("card.SVG", b"<?xml"), ("card.pdf", b"%PDF")])
def test_other_endings_are_other_kinds_of_file(tmp_path: Path, name: str, start: bytes) -> None:
    write_card(VERDICT, [IMAGE], tmp_path / name, **TEXTS)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_verdict_without_probabilities_and_images_is_drawn(tmp_path: Path) -> None:
    changes = {"status": "abstained", "preferred": None, "probabilities": None, "margin": None, "consistent": None}
    write_card(VERDICT.model_copy(update=changes), [], tmp_path / "card.png", **TEXTS)
    with Image.open(tmp_path / "card.png") as card:
        card.load()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("card.jpg", "ends with '.jpg'; allowed are .png, .svg, .pdf"),
        ("card", "has no ending; allowed are .png, .svg, .pdf"),
        ("missing/card.png", "which is no folder. Make that folder"),
        ("folder.png", "is a folder. Name a file in it"),
    ],
)
def test_a_path_that_will_not_do_is_told_with_what_would(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(CardPathError, match="The card's file") as told:
        check_path(tmp_path / name)
    assert message in str(told.value)
    assert str(tmp_path / name) in str(told.value)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "card.png").symlink_to(tmp_path / "missing" / "card.png")
    for path in (tmp_path / "card.png", tmp_path / f"{'x' * 300}.png"):
        with pytest.raises(CardPathError, match=r"cannot be written \(.*\)\. Name one that you may write"):
            write_card(VERDICT, [IMAGE], path, **TEXTS)


def test_images_are_shown_as_the_judge_saw_them_however_small(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (1, 1), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    turned, clear = read_images([tmp_path / "turned.jpg", tmp_path / "clear.png"])
    assert turned.size == (2, 4)
    assert clear.getpixel((0, 0)) == (255, 255, 255)
