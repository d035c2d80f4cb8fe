"""Places in an image, as texts name them: what each is called, and which points lie there.

Not here: which words of a sentence name one (`experts.claim_extractors.image_places`), nor places that are relative to
other objects ("left of the sofa"), which nothing checks.
"""

from dataclasses import dataclass
from typing import Literal

Row = Literal["upper", "middle", "lower"]
Column = Literal["left", "center", "right"]

_ROWS: dict[Row, int] = {"upper": 0, "middle": 1, "lower": 2}
_COLUMNS: dict[Column, int] = {"left": 0, "center": 1, "right": 2}
_ALONE = {"upper": "top", "middle": "middle", "lower": "bottom"}
_MARGIN = 1 / 12
"""How far a point may lie beyond its ninth, as a share of the side. Nobody measures thirds before he says "in the lower
left": with it, "left" reaches over five twelfths of the width and "center" over the middle half."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A ninth of an image, or one side of it. row, column: None where the text does not say, but never both."""

    row: Row | None = None
    column: Column | None = None

    def __post_init__(self) -> None:
        if self.row is None and self.column is None:
            raise ValueError("A place has neither row nor column; give at least one of them.")

    @property
    def name(self) -> str:
        """What it is called: "middle left", "left", "top"."""
        if self.row is None:
            return str(self.column)
        return _ALONE[self.row] if self.column is None else f"{self.row} {self.column}"

    def holds(self, x: float, y: float) -> bool:
        """Whether a point counts as lying there. x, y: shares of width and height from the upper left, in [0, 1].

        A side alone is half of the image; a ninth reaches a twelfth of the side beyond its borders.
        """
        if self.row is None or self.column is None:
            return (self.column is None or _is_in_half(x, _COLUMNS[self.column])) and (
                self.row is None or _is_in_half(y, _ROWS[self.row])
            )
        return _is_in_third(x, _COLUMNS[self.column]) and _is_in_third(y, _ROWS[self.row])


def _is_in_half(share: float, third: int) -> bool:
    """Whether a share lies in the half that a third stands for alone; the middle one stands for the half around it."""
    return third / 4 <= share <= third / 4 + 1 / 2


def _is_in_third(share: float, third: int) -> bool:
    return third / 3 - _MARGIN <= share <= (third + 1) / 3 + _MARGIN
