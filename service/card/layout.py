"""Where everything on a card stands: the verdict on top, then the question, images beside responses, and the reasons.

The card is as wide as a page and as high as it must be. Long texts are cut with an ellipsis that says how long they
are. What colours tell, a sign and a word tell too.
"""

from service.card.content import CardContent
from service.card.letters import Letters
from service.card.photos import place_photos
from service.card.shapes import DIM, FAINT, INK, PANEL, PAPER, Layout, Rectangle, Stroke, Words
from service.card.sides import RESPONSE_COLOURS, place_badge, place_sides
from service.card.text_block import Block, place_text

WIDTH = 1000.0
MARGIN = 32.0
GAP = 24.0
_INNER = WIDTH - 2 * MARGIN
_PHOTO_COLUMN = 360.0
_MAX_WIDE_HEIGHT = 320.0
_GOOD, _BAD, _NOTE = "#007a58", "#b34700", "#e69f00"


def lay_out(content: CardContent) -> Layout:
    """The card with everything in its place."""
    letters = Letters(_list_texts(content))
    layout = Layout(width=WIDTH, families=tuple(letters.families))
    y = _place_outcome(layout, letters, content, MARGIN)
    y = _place_agreement(layout, letters, content, y)
    y = _place_labelled(layout, letters, "QUESTION", content.question, y + GAP, size=18, max_lines=6)
    y = _place_middle(layout, letters, content, y + GAP - 6)
    y = _place_labelled(layout, letters, "CRITIQUE", content.critique, y + GAP, size=15, max_lines=12)
    for note in content.notes:
        y = _place_note(layout, letters, note, y + 14)
    layout.height = _place_facts(layout, letters, content, y + GAP) + 20
    layout.shapes.insert(0, Rectangle(0, 0, WIDTH, layout.height, face=PAPER))
    return layout


def _list_texts(content: CardContent) -> list[str]:
    """Everything that others wrote, as far as it may be shown."""
    texts = [content.question, content.critique, content.sentence, content.facts, *content.notes]
    texts += [side.text for side in content.sides]
    texts += [claim.said for side in content.sides for claim in side.claims]
    texts += [box.label for photo in content.photos for box in photo.boxes]
    return [text[:20_000] for text in texts]


def _place_outcome(layout: Layout, letters: Letters, content: CardContent, y: float) -> float:
    sign = content.preferred or {"tie": "=", "abstained": "–"}.get(content.status, "–")
    colour = RESPONSE_COLOURS[content.preferred] if content.preferred else "#4a4c54"
    place_badge(layout, MARGIN, y, 46, sign, colour)
    layout.shapes.append(Words(x=MARGIN + 62, y=y + 20, text=content.title, size=25, bold=True))
    block = Block(x=MARGIN + 62, width=_INNER - 62, size=15, max_lines=3, colour=DIM)
    y = max(place_text(layout, letters, content.sentence, y + 27, block), y + 46) + 18
    return _place_bar(layout, content, y)


def _place_bar(layout: Layout, content: CardContent, y: float) -> float:
    height = 28.0
    if content.probabilities is None:
        layout.shapes += [
            Rectangle(MARGIN, y, _INNER, height, face=PANEL, edge=FAINT, radius=6, is_hatched=True),
            Words(x=WIDTH / 2, y=y + height + 20, text="no probabilities", size=14, colour=DIM, align="center"),
        ]
        return y + height + 28
    a, b = content.probabilities.A, content.probabilities.B
    split = MARGIN + a * _INNER
    if a > 0:
        layout.shapes.append(Rectangle(MARGIN, y, a * _INNER, height, face=RESPONSE_COLOURS["A"]))
    if b > 0:
        layout.shapes.append(Rectangle(split, y, b * _INNER, height, face=RESPONSE_COLOURS["B"]))
    middle = WIDTH / 2
    ends = y + height + 20
    layout.shapes += [
        Stroke(x1=split, y1=y, x2=split, y2=y + height, colour=PAPER, width=3),
        Stroke(x1=middle, y1=y - 5, x2=middle, y2=y + height + 5, colour=PAPER, width=4),
        Stroke(x1=middle, y1=y - 5, x2=middle, y2=y + height + 5, colour=INK, width=1.5, dashes=(4, 2.5)),
        Words(x=MARGIN, y=ends, text=f"A  {a:.1%}", size=15, bold=True),
        Words(x=middle, y=ends + 1, text=content.margin, size=14, colour=DIM, align="center"),
        Words(x=MARGIN + _INNER, y=ends, text=f"{b:.1%}  B", size=15, bold=True, align="right"),
    ]
    return ends + 8


def _place_agreement(layout: Layout, letters: Letters, content: CardContent, y: float) -> float:
    sign, title, sentence = content.agreement
    colour = {"✓": _GOOD, "✗": _BAD}.get(sign, "#4a4c54")
    top, left = y + 14, MARGIN + 52
    title_width = letters.measure(title, 15, bold=True)
    fits = title_width + letters.measure(f" {sentence}", 14) <= _INNER - 68
    height = 62.0 if fits else 84.0
    layout.shapes += [
        Rectangle(MARGIN, top, _INNER, height, face=PANEL, radius=8),
        Words(x=left, y=top + 26, text=title, size=15, bold=True),
    ]
    place_badge(layout, MARGIN + 14, top + 14, 26, sign, colour)
    x, line = (left + title_width + 8, top + 26) if fits else (left, top + 48)
    layout.shapes += [
        Words(x=x, y=line, text=sentence, size=14),
        Words(x=left, y=line + 22, text=content.orders, size=13, colour=DIM),
    ]
    return top + height


def _place_labelled(
    layout: Layout, letters: Letters, label: str, text: str, y: float, *, size: float, max_lines: int
) -> float:
    layout.shapes.append(Words(x=MARGIN, y=y + 9, text=label, size=11, colour=DIM, bold=True))
    return place_text(
        layout, letters, text, y + 17, Block(x=MARGIN, width=_INNER, size=size, max_lines=max_lines, colour=INK)
    )


def _place_middle(layout: Layout, letters: Letters, content: CardContent, y: float) -> float:
    """Images beside the responses; above them where there is one and it is wide."""
    wide = len(content.photos) == 1 and content.photos[0].image.width > 2.2 * content.photos[0].image.height
    if wide:
        end = place_photos(layout, letters, content, (MARGIN, y), (_INNER, _MAX_WIDE_HEIGHT))
        return place_sides(layout, letters, content, (MARGIN, end + 16), _INNER, is_beside=True)
    if not content.photos:
        return place_sides(layout, letters, content, (MARGIN, y), _INNER, is_beside=True)
    left_end = place_photos(layout, letters, content, (MARGIN, y), (_PHOTO_COLUMN, 440.0))
    x = MARGIN + _PHOTO_COLUMN + GAP
    right_end = place_sides(layout, letters, content, (x, y), WIDTH - MARGIN - x, is_beside=False)
    return max(left_end, right_end)


def _place_note(layout: Layout, letters: Letters, note: str, y: float) -> float:
    block = Block(x=MARGIN + 34, width=_INNER - 50, size=13, max_lines=3, colour=INK)
    place = len(layout.shapes)
    end = place_text(layout, letters, note, y + 7, block) + 7
    layout.shapes[place:place] = [
        Rectangle(MARGIN, y, _INNER, end - y, face=PANEL),
        Rectangle(MARGIN, y, 5, end - y, face=_NOTE),
        Words(x=MARGIN + 21, y=y + 21, text="!", size=15, bold=True, align="center"),
    ]
    return end


def _place_facts(layout: Layout, letters: Letters, content: CardContent, y: float) -> float:
    layout.shapes.append(Stroke(x1=MARGIN, y1=y, x2=MARGIN + _INNER, y2=y, colour=FAINT))
    block = Block(x=MARGIN, width=_INNER, size=12, max_lines=3, colour=DIM)
    end = place_text(layout, letters, content.facts, y + 8, block)
    if letters.num_named:
        said = "In brackets: characters that cannot be seen or that no font here has, by number or name."
        end = place_text(layout, letters, said, end, block)
    return end
