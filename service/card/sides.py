"""The two responses on a card: what they say, what is preferred, and what the experts say of their claims."""

from dataclasses import replace

from experts.findings import FINDING_SIGNS
from genrm.types import Finding, Response
from service.card.content import CardContent, Claim, Side
from service.card.letters import Letters
from service.card.shapes import DIM, FAINT, PAPER, Layout, Rectangle, Words
from service.card.text_block import Block, place_text, write_colours

RESPONSE_COLOURS: dict[Response, str] = {"A": "#0072b2", "B": "#a54a00"}
_GAP = 16.0
_PADDING = 16.0
_MAX_LINES = 10
_GROUND_SIZE = 12.5
_SIGN_INK: dict[Finding, str] = {
    "supported": "#ffffff",
    "unsupported": "#1a1a1a",
    "contradicted": "#ffffff",
    "unchecked": "#ffffff",
}


def place_badge(layout: Layout, x: float, y: float, side: float, text: str, colour: str, ink: str = PAPER) -> None:
    """A letter or sign on a square of a colour."""
    layout.shapes += [
        Rectangle(x, y, side, side, face=colour, radius=side / 6),
        Words(x=x + side / 2, y=y + 0.71 * side, text=text, size=0.58 * side, colour=ink, bold=True, align="center"),
    ]


def place_sides(
    layout: Layout,
    letters: Letters,
    content: CardContent,
    corner: tuple[float, float],
    width: float,
    *,
    is_beside: bool,
) -> float:
    """Put both responses on the card, beside or below each other; where they end."""
    x, y = corner
    if not is_beside:
        for side in content.sides:
            y = _place_side(layout, letters, side, (x, y), width) + _GAP
        return y - _GAP
    each = (width - _GAP) / 2
    ends, frames = [], []
    for number, side in enumerate(content.sides):
        frames.append(len(layout.shapes))
        ends.append(_place_side(layout, letters, side, (x + number * (each + _GAP), y), each))
    for frame in frames:  # both as high as the higher one
        old = layout.shapes[frame]
        assert isinstance(old, Rectangle)
        layout.shapes[frame] = replace(old, height=max(ends) - y)
    return max(ends)


def _place_side(layout: Layout, letters: Letters, side: Side, corner: tuple[float, float], width: float) -> float:
    """One response in its frame, which is the first shape that is added."""
    x, y = corner
    frame = len(layout.shapes)
    left, inner = x + _PADDING, width - 2 * _PADDING
    colour = RESPONSE_COLOURS[side.name]
    place_badge(layout, left, y + _PADDING, 24, side.name, colour)
    layout.shapes.append(Words(x=left + 34, y=y + _PADDING + 17.5, text=f"Response {side.name}", size=15, bold=True))
    if side.is_preferred:
        layout.shapes.append(
            Words(
                x=left + inner,
                y=y + _PADDING + 17,
                text="✓ preferred",
                size=14,
                colour=colour,
                bold=True,
                align="right",
            )
        )
    mentions = [(letters.show(claim.mention), claim.finding) for claim in side.claims]
    block = Block(x=left, width=inner, size=16, max_lines=_MAX_LINES)
    y = place_text(layout, letters, side.text or "(empty)", y + _PADDING + 34, block, mentions) + 11
    for claim in side.claims:
        y = _place_claim(layout, letters, claim, (left, y), inner)
    if side.more:
        y = place_text(layout, letters, side.more, y, Block(x=left, width=inner, size=13, max_lines=2, colour=DIM)) + 2
    end = y + _PADDING - 4
    place = (x, corner[1], width, end - corner[1])
    edge, edge_width = (colour, 2.5) if side.is_preferred else (FAINT, 1.2)
    layout.shapes.insert(frame, Rectangle(*place, face=PAPER, edge=edge, edge_width=edge_width, radius=8))
    return end


def _place_claim(layout: Layout, letters: Letters, claim: Claim, corner: tuple[float, float], width: float) -> float:
    x, y = corner
    colour, tint = write_colours(claim.finding)
    place = len(layout.shapes)
    text_x, text_width = x + 38, width - 48
    said = Block(x=text_x, width=text_width, size=14, max_lines=2)
    ground = letters.show_line(claim.ground)
    long = letters.measure(letters.show_line(claim.said[:200]), said.size) + letters.measure(ground, _GROUND_SIZE)
    end = place_text(layout, letters, claim.said, y + 4, said)
    if claim.ground and long + _GAP <= text_width and len(claim.said) <= 200:  # behind it, on the right
        right = text_x + text_width
        layout.shapes.append(Words(x=right, y=y + 19, text=ground, size=_GROUND_SIZE, colour=DIM, align="right"))
    elif claim.ground:
        block = Block(x=text_x, width=text_width, size=_GROUND_SIZE, max_lines=2, colour=DIM)
        end = place_text(layout, letters, claim.ground, end - 2, block)
    end += 5
    layout.shapes.insert(place, Rectangle(x, y, width, end - y, face=tint, radius=4))
    place_badge(layout, x + 8, y + 5, 19, FINDING_SIGNS[claim.finding], colour, _SIGN_INK[claim.finding])
    return end + 6
