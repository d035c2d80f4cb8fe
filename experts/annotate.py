"""Pictures that show the evidence: boxes on the image, labelled, in colours that tell the findings apart.

The finding also stands in words, in the list of claims below. A whole verdict is shown by `service.card`.
"""

import textwrap
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from experts.findings import FINDING_COLOURS, describe_claim
from genrm.types import Evidence, describe_found

_MIN_SIDE = 480
_LEAST_COLUMNS = 20
"""Letters in a line of the legend, about, however narrow the picture is."""


def annotate(image: Image.Image, evidence: Sequence[Evidence]) -> Image.Image:
    """A copy of the image, enlarged if it is small, with a labelled box per detection and, below it, one line per claim
    with its finding. image: the first of the request; boxes in others are left out.
    """
    scale = max(1.0, _MIN_SIDE / max(image.size))
    picture = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
    font = ImageFont.truetype(_find_font(), size=max(13, min(picture.size) // 32))
    pen = ImageDraw.Draw(picture)
    width = max(2, min(picture.size) // 200)
    for item in evidence:
        colour = FINDING_COLOURS[item.finding]
        for detection in (found for found in item.detections if found.image == 0):
            x1, y1, x2, y2 = (value * scale for value in detection.box)
            pen.rectangle((x1, y1, x2, y2), outline=colour, width=width)
            _label(pen, (x1, y1), f"{detection.phrase} {detection.score:.2f}", colour, font)
    return _with_legend(picture, evidence, font)


@cache
def _find_font() -> str:
    """The file of a font that matplotlib brings: Pillow's own has neither "×" nor quotation marks."""
    from matplotlib import font_manager

    return str(font_manager.findfont("DejaVu Sans"))


def _label(
    pen: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    """A text on a patch of the colour, in the box's upper left corner, or as near to it as the picture has room."""
    _, _, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = pen.im.size
    x = max(0.0, min(corner[0], width - right - 5))
    y = max(0.0, min(corner[1], height - bottom - 5))
    pen.rectangle((x, y, x + right + 4, y + bottom + 4), fill=colour)
    pen.text((x + 2, y + 1), text, font=font, fill=(255, 255, 255))


def _with_legend(picture: Image.Image, evidence: Sequence[Evidence], font: ImageFont.FreeTypeFont) -> Image.Image:
    """The picture with a white strip below it that lists the claims, broken where they are wider than the picture; a
    narrow picture gets white beside it as well, since nobody reads lines of a few letters.
    """
    width = max(picture.width, round(_LEAST_COLUMNS * font.getlength("n")) + 16)
    columns = int((width - 16) / font.getlength("n"))
    claims = [(_describe(item), FINDING_COLOURS[item.finding]) for item in evidence] or [("no claims", (80, 80, 80))]
    lines = [(line, colour) for text, colour in claims for line in textwrap.wrap(text, columns)]
    height = round(1.5 * font.getbbox("Ag")[3])
    canvas = Image.new("RGB", (width, picture.height + height * len(lines) + 8), (255, 255, 255))
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    for number, (text, colour) in enumerate(lines):
        pen.text((8, picture.height + 4 + number * height), text, font=font, fill=colour)
    return canvas


def _describe(item: Evidence) -> str:
    found = f", found {describe_found(item)}" if item.kind == "object" else ""
    sure = "" if item.probability is None else f", P = {item.probability:.2f}"
    return f"{describe_claim(item)}: {item.finding}{found}{sure}"
