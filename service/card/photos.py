"""The images on a card, each as large as its place allows, with the boxes of what was found."""

from PIL.Image import Resampling

from service.card.content import CardContent, Photo
from service.card.letters import Letters
from service.card.shapes import DIM, FAINT, INK, PANEL, PAPER, Layout, Picture, Place, Rectangle, Shape, Words
from service.card.text_block import Block, place_text, write_colours

_GAP = 12.0
_MIN_SIDE = 4.0
_INSET = 2.0
"""Keeps the lines of boxes on the image."""
_PIXELS_PER_UNIT = 2
"""What is kept of an image: as much as is printed."""
_LABEL_SIZE = 12.0
_LABEL_HEIGHT = 17.0
_MAX_LABEL = 200
"""Characters; more never fit."""
_MIXED = "#222222"


def place_photos(
    layout: Layout, letters: Letters, content: CardContent, corner: tuple[float, float], room: tuple[float, float]
) -> float:
    """Put all images on the card, two in a row if there are several, and a caption; where they end.

    room: width of all, and height of one that stands alone.
    """
    (x, y), (width, height) = corner, room
    if len(content.photos) == 1:
        y = _place_photo(layout, letters, content.photos[0], (x, y), (width, height), None)
    else:
        each = (width - _GAP) / 2
        for first in range(0, len(content.photos), 2):
            row = content.photos[first : first + 2]
            y = _GAP + max(
                _place_photo(layout, letters, photo, (x + place * (each + _GAP), y), (each, each), first + place + 1)
                for place, photo in enumerate(row)
            )
        y -= _GAP
    block = Block(x=x, width=width, size=12, max_lines=4, colour=DIM)
    return place_text(layout, letters, content.caption, y + 6, block)


def _place_photo(
    layout: Layout,
    letters: Letters,
    photo: Photo,
    corner: tuple[float, float],
    room: tuple[float, float],
    number: int | None,
) -> float:
    """One image in the middle of its room's width; where it ends. number: written below, if it has one."""
    scale = min(room[0] / photo.image.width, room[1] / photo.image.height)
    width, height = (max(_MIN_SIDE, scale * side) for side in photo.image.size)
    x, y = corner[0] + (room[0] - width) / 2, corner[1]
    pixels = (round(_PIXELS_PER_UNIT * width), round(_PIXELS_PER_UNIT * height))
    image = photo.image.convert("RGB").resize(pixels, Resampling.LANCZOS)
    layout.shapes += [
        Rectangle(corner[0], y, room[0], height, face=PANEL),
        Picture(x=x, y=y, width=width, height=height, image=image),
        Rectangle(x, y, width, height, edge=FAINT),
    ]
    _place_boxes(layout, letters, photo, (x, y, width, height), (corner[0], room[0]))
    if number is None:
        return y + height
    layout.shapes.append(Words(x=corner[0], y=y + height + 15, text=f"image {number}", size=12, colour=DIM))
    return y + height + 20


def _place_boxes(
    layout: Layout,
    letters: Letters,
    photo: Photo,
    frame: Place,
    span: tuple[float, float],
) -> None:
    """Put the boxes on an image, then their labels, each where it hides no other if there is such a place.

    frame: x, y, width and height of the image. span: x and width of where labels may be.
    """
    x, y, width, height = frame
    taken: list[tuple[float, float, float]] = []
    labels: list[Shape] = []
    for box in photo.boxes:
        x1, x2 = (x + _INSET + share * max(0.0, width - 2 * _INSET) for share in box.corners[::2])
        y1, y2 = (y + _INSET + share * max(0.0, height - 2 * _INSET) for share in box.corners[1::2])
        colour = write_colours(box.finding)[0] if box.finding else _MIXED
        place = (x1, y1, max(1.0, x2 - x1), max(1.0, y2 - y1))
        layout.shapes += [
            Rectangle(*place, edge=PAPER, edge_width=4.5),
            Rectangle(*place, edge=colour, edge_width=2.5),
        ]
        text = letters.show_line(box.label[:_MAX_LABEL])
        if letters.measure(text, _LABEL_SIZE) > span[1] - 10:
            text = letters.shorten(text, span[1] - 10, _LABEL_SIZE, "…")
        long = letters.measure(text, _LABEL_SIZE) + 10
        left = max(span[0], min(x1 - 2, span[0] + span[1] - long))
        places = [(left, top, long) for top in (y1 - _LABEL_HEIGHT, y2, y1, y2 - _LABEL_HEIGHT)]
        inside = [each for each in places if y <= each[1] <= y + height - _LABEL_HEIGHT] or places[:1]
        chosen = next((each for each in inside if not any(_overlap(each, other) for other in taken)), inside[0])
        taken.append(chosen)
        ink = INK if box.finding == "unsupported" else PAPER
        labels += [
            Rectangle(left, chosen[1], long, _LABEL_HEIGHT, face=colour, radius=2),
            Words(x=left + 5, y=chosen[1] + 12.5, text=text, size=_LABEL_SIZE, colour=ink),
        ]
    layout.shapes += labels


def _overlap(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    """Whether two labels share some of the picture. x, y, width of each."""
    apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
    return not apart and abs(one[1] - other[1]) < _LABEL_HEIGHT
