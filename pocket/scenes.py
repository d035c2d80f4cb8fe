"""Scenes of the pocket world and their exact ground truth.

A scene is 168 x 168 pixels: 1 to 8 objects, each a glyph of one kind (turned, flipped, resized), perhaps on a
coloured mat, and perhaps one sign with a word or a number. Centres lie in different cells of a 6 x 6 grid, and two
objects of one kind never share one of the nine named parts of the picture, so "the dog in the upper left" names at
most one object. Neighbours may overlap partly.

Splits differ by seed range and never overlap: scene `index` of a split draws from the generator seeded with (split's
number, index).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pocket.vocabulary import KIND_BY_NAME, KINDS, MAT_COLOURS, SIGN_TEXTS, Kind, place_name

SIZE_PIXELS = 168
GRID = 6
CELL_PIXELS = SIZE_PIXELS // GRID
MAX_OBJECTS = 8


class Split(StrEnum):
    """Which scenes: `shifted` also has another look (see `pocket.drawing`) and, like `held-out`, is never trained
    on.
    """

    TRAIN = "train"
    DEV = "dev"
    HELD_OUT = "held-out"
    SHIFTED = "shifted"


_SPLIT_NUMBER = {Split.TRAIN: 1, Split.DEV: 2, Split.HELD_OUT: 3, Split.SHIFTED: 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedObject:
    """One object of a scene. x, y: centre in pixels. size: longer side in pixels. angle: degrees, counter-clockwise."""

    kind: Kind
    x: int
    y: int
    size: int
    angle: float
    flipped: bool
    mat: str | None

    @property
    def cell(self) -> int:
        """Index of the grid cell that holds the centre, row by row, in 0..35."""
        return (self.y // CELL_PIXELS) * GRID + self.x // CELL_PIXELS

    @property
    def part(self) -> tuple[int, int]:
        """Row and column, each in 0..2, of the ninth of the picture that holds the centre."""
        return self.y * 3 // SIZE_PIXELS, self.x * 3 // SIZE_PIXELS

    @property
    def place(self) -> str:
        """Name of the part of the picture, e.g. "upper left"."""
        return place_name(*self.part)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in pixels of the square that holds the glyph before it is turned, clipped to the picture."""
        half = self.size // 2
        corners = (self.x - half, self.y - half, self.x + half, self.y + half)
        return tuple(min(max(c, 0), SIZE_PIXELS) for c in corners)  # type: ignore[return-value] # four of four


@dataclass(frozen=True, kw_only=True, slots=True)
class Sign:
    """A board with a short text, centred at x, y (pixels)."""

    text: str
    x: int
    y: int

    @property
    def cell(self) -> int:
        """Index of the grid cell that holds the centre, in 0..35."""
        return (self.y // CELL_PIXELS) * GRID + self.x // CELL_PIXELS

    @property
    def place(self) -> str:
        """Name of the part of the picture that holds the centre."""
        return place_name(self.y * 3 // SIZE_PIXELS, self.x * 3 // SIZE_PIXELS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Ground truth of one picture. objects: in reading order of their cells. look_seed: everything that is only
    look.
    """

    split: Split
    index: int
    objects: tuple[PlacedObject, ...]
    sign: Sign | None
    look_seed: int

    def of_kind(self, name: str) -> tuple[PlacedObject, ...]:
        """The objects of one kind, in reading order."""
        return tuple(o for o in self.objects if o.kind.name == name)

    def of_category(self, category: str) -> tuple[PlacedObject, ...]:
        """The objects of one super-category, in reading order."""
        return tuple(o for o in self.objects if o.kind.category == category)

    @property
    def unique(self) -> tuple[PlacedObject, ...]:
        """The objects that are the only ones of their kind."""
        return tuple(o for o in self.objects if len(self.of_kind(o.kind.name)) == 1)

    @property
    def absent(self) -> tuple[Kind, ...]:
        """The kinds that the scene does not hold."""
        present = {o.kind.name for o in self.objects}
        return tuple(kind for kind in KINDS if kind.name not in present)


def sample_scene(split: Split, index: int) -> Scene:
    """Scene number `index` (≥ 0) of a split; the same arguments give the same scene."""
    rng = np.random.default_rng([_SPLIT_NUMBER[split], index])
    names = _draw_names(rng)
    cells = rng.permutation(GRID * GRID)
    sign_spot = None
    taken: set[int] = set()
    if rng.random() < 0.4:  # a sign is wide: it keeps off the left and right border and off its neighbours
        row, column = int(rng.integers(GRID)), int(rng.integers(1, GRID - 1))
        taken = {row * GRID + c for c in (column - 1, column, column + 1)}
        sign_spot = Sign(text=str(rng.choice(SIGN_TEXTS)), x=_jitter(rng, column, 4), y=_jitter(rng, row, 4))
    small, large = (24, 68) if split is Split.SHIFTED else (30, 60)
    objects: list[PlacedObject] = []
    for name in names:
        for cell in cells:
            row, column = divmod(int(cell), GRID)
            part_taken = any(o.kind.name == name and o.part == (row // 2, column // 2) for o in objects)
            near = any(abs(row - t // GRID) + abs(column - t % GRID) <= 1 for t in taken)
            if near or part_taken:
                continue
            taken.add(int(cell))
            x, y = _jitter(rng, column, 8), _jitter(rng, row, 8)
            size = _room(x, y, int(rng.integers(small, large + 1)), objects, sign_spot)
            objects.append(
                PlacedObject(
                    kind=KIND_BY_NAME[name],
                    x=_inside(x, size),
                    y=_inside(y, size),
                    size=size,
                    angle=float(rng.uniform(-30, 30)),
                    flipped=bool(rng.random() < 0.5),
                    mat=str(rng.choice(list(MAT_COLOURS))) if rng.random() < 0.5 else None,
                )
            )
            break
    objects.sort(key=lambda o: o.cell)
    return Scene(split=split, index=index, objects=tuple(objects), sign=sign_spot, look_seed=int(rng.integers(2**31)))


def _jitter(rng: np.random.Generator, cell: int, reach: int) -> int:
    return cell * CELL_PIXELS + CELL_PIXELS // 2 + int(rng.integers(-reach, reach + 1))


def _room(x: int, y: int, size: int, placed: list[PlacedObject], sign: Sign | None) -> int:
    """A size in pixels at which neighbours still show: at most 1.3 times the way to the nearest one, at least 22."""
    others = [(o.x, o.y) for o in placed] + ([(sign.x, sign.y)] if sign else [])
    nearest = min((((x - a) ** 2 + (y - b) ** 2) ** 0.5 for a, b in others), default=float(SIZE_PIXELS))
    return max(22, min(size, int(1.3 * nearest)))


def _inside(centre: int, size: int) -> int:
    """The centre moved, within its cell, so that at most a sixth of the object is cut off by the border."""
    reach = min(size // 3, CELL_PIXELS - 4)
    return min(max(centre, reach), SIZE_PIXELS - reach)


def _draw_names(rng: np.random.Generator) -> list[str]:
    """Kinds of the objects, with repeats: some kinds come two to five times, some scenes dwell on one
    super-category.
    """
    total = int(rng.integers(1, MAX_OBJECTS + 1))
    pool = list(KINDS)
    if rng.random() < 0.4:
        category = rng.choice(sorted({kind.category for kind in KINDS if kind.category != "people"}))
        near = [kind for kind in KINDS if kind.category == category]
        pool = near * 4 + pool
    names: list[str] = []
    while len(names) < total:
        kind = pool[int(rng.integers(len(pool)))]
        if kind.name in names:
            continue
        repeats = int(rng.choice([1, 2, 3, 4, 5], p=[0.5, 0.2, 0.15, 0.1, 0.05]))
        names += [kind.name] * min(repeats, total - len(names))
    return names
