"""What a laid out card is made of: rectangles, lines, texts and pictures at places. Hundredths of an inch, from the
upper left corner.
"""

from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from PIL.Image import Image

INK, DIM, FAINT, PAPER, PANEL = "#1a1a1a", "#50525a", "#d5d7dd", "#ffffff", "#f5f6f8"

Align = Literal["left", "center", "right"]


Place = tuple[float, float, float, float]
"""x, y, width, height."""


@dataclass(frozen=True)
class Rectangle:
    """A filled rectangle. radius: of its corners. is_hatched: its face is striped."""

    x: float
    y: float
    width: float
    height: float
    _: KW_ONLY
    face: str = "none"
    edge: str = "none"
    edge_width: float = 1.0
    radius: float = 0.0
    is_hatched: bool = False


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """A straight line. dashes: lengths of dash and gap; empty for a solid one."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    width: float = 1.0
    dashes: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Words:
    """One line of text, its baseline at y. x: of what `align` names."""

    x: float
    y: float
    text: str
    size: float
    colour: str = INK
    bold: bool = False
    align: Align = "left"


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """An image, stretched to its place."""

    x: float
    y: float
    width: float
    height: float
    image: Image


Shape = Rectangle | Stroke | Words | Picture


@dataclass(kw_only=True)
class Layout:
    """A card, what is behind first. families: fonts for its texts, in the order in which they are looked into."""

    width: float
    height: float = 0.0
    families: tuple[str, ...] = ()
    shapes: list[Shape] = field(default_factory=list)

    def read(self) -> list[str]:
        """All its texts, from behind to front."""
        return [shape.text for shape in self.shapes if isinstance(shape, Words)]
