"""Texts of several lines on a card, and the claims that are marked in them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experts.findings import FINDING_COLOURS
from genrm.types import Finding
from service.card.letters import Letters, has_right_to_left, starts_right_to_left
from service.card.shapes import INK, Align, Layout, Rectangle, Stroke, Words

_LINE_HEIGHT = 1.45
_MAX_LETTERS_PER_LINE = 300
"""More never fit, so a text of a million characters is not looked at to its end."""
_DASHES: dict[Finding, tuple[float, ...]] = {
    "supported": (),
    "unsupported": (5, 2),
    "contradicted": (2, 1.2),
    "unchecked": (1, 2.5),
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """Where a text stands and how. x, width, size: hundredths of an inch."""

    x: float
    width: float
    size: float
    max_lines: int
    colour: str = INK


def place_text(
    layout: Layout,
    letters: Letters,
    text: str,
    y: float,
    block: Block,
    mentions: Sequence[tuple[str, Finding]] = (),
) -> float:
    """Put a text on the card; where it ends. y: where it begins. mentions: words to be marked, with their finding.

    A mark is a tint, and a line whose dashes differ between findings.
    """
    limit = block.max_lines * _MAX_LETTERS_PER_LINE
    shown = letters.show(text[:limit].strip("\n"))
    lines, is_cut = letters.wrap(shown, block.width, block.size, block.max_lines)
    is_cut = is_cut or len(text) > limit
    marks = list(_find_mentions(shown, mentions))
    step = _LINE_HEIGHT * block.size
    for number, (start, end) in enumerate(lines):
        line = shown[start:end]
        if is_cut and number == len(lines) - 1:
            line = letters.shorten(line, block.width, block.size, f" … ({len(text):,} characters in all)")
        baseline = y + number * step + 0.5 * step + 0.36 * block.size
        if not has_right_to_left(line):
            for first, last, finding in marks:
                _place_mark(layout, letters, line, (first - start, last - start), finding, baseline, block)
        align: Align = "right" if starts_right_to_left(line) else "left"
        x = block.x + (block.width if align == "right" else 0)
        layout.shapes.append(Words(x=x, y=baseline, text=line, size=block.size, colour=block.colour, align=align))
    return y + len(lines) * step


def _find_mentions(text: str, mentions: Sequence[tuple[str, Finding]]) -> Iterator[tuple[int, int, Finding]]:
    """Where the mentions are, each after the one before, or anywhere if it is not there."""
    place = 0
    for mention, finding in mentions:
        pattern = re.compile(rf"(?<!\w){re.escape(mention)}(?!\w)", re.IGNORECASE)
        found = (pattern.search(text, place) or pattern.search(text)) if mention else None
        if found:
            place = found.end()
            yield found.start(), found.end(), finding


def _place_mark(
    layout: Layout,
    letters: Letters,
    line: str,
    span: tuple[int, int],
    finding: Finding,
    baseline: float,
    block: Block,
) -> None:
    start, end = max(0, span[0]), min(len(line), span[1])
    if start >= end:
        return
    x1, x2 = (block.x + letters.measure(line[:place], block.size) for place in (start, end))
    colour, tint = write_colours(finding)
    below = baseline + 0.27 * block.size
    layout.shapes += [
        Rectangle(x1 - 1, baseline - 0.95 * block.size, x2 - x1 + 2, 1.22 * block.size, face=tint, radius=2),
        Stroke(x1=x1, y1=below, x2=x2, y2=below, colour=colour, width=2, dashes=_DASHES[finding]),
    ]


def write_colours(finding: Finding) -> tuple[str, str]:
    """The colour of a finding, and its tint."""
    colour = FINDING_COLOURS[finding]
    tint = [round(255 - 0.16 * (255 - part)) for part in colour]
    return "#" + "".join(f"{part:02x}" for part in colour), "#" + "".join(f"{part:02x}" for part in tint)
