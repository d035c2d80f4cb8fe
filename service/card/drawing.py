"""Draws a laid out card into a file: PNG, or SVG and PDF for print."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Image

from genrm.errors import GenRMError
from genrm.plots import use_style
from service.card.content import build_content
from service.card.layout import lay_out
from service.card.letters import FAMILY
from service.card.shapes import Layout, Picture, Rectangle, Shape, Stroke, Words
from service.schemas import JudgeResponse

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 160
_POINTS = 0.72
"""In a hundredth of an inch."""


class CardPathError(GenRMError, ValueError):
    """A card cannot be written where it was asked for. Name another file."""


def check_path(path: Path) -> None:
    """Raise CardPathError if no card can be written there, as far as can be told before there is one."""
    if path.suffix.lower() not in SUFFIXES:
        given = f"ends with {path.suffix!r}" if path.suffix else "has no ending"
        raise CardPathError(f"The card's file {str(path)!r} {given}; allowed are {', '.join(SUFFIXES)}. Name it so.")
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:  # a name that is too long, for instance
        raise _refuse(path, error) from error
    if is_folder:
        raise CardPathError(f"The card's file {str(path)!r} is a folder. Name a file in it, such as card.png.")
    if not has_folder:
        raise CardPathError(
            f"The card's file {str(path)!r} is to lie in {str(path.parent)!r}, which is no folder. Make that folder, "
            "or name a file in one that exists."
        )


def write_card(verdict: JudgeResponse, images: Sequence[Image], path: Path, *, question: str, a: str, b: str) -> None:
    """Write the card of a verdict. images, question, a, b: what was judged; images RGB and upright. Takes CPU time.

    path: its ending says what is written: `.png`, `.svg` or `.pdf`. Raises CardPathError if it cannot be written.
    """
    check_path(path)
    layout = lay_out(build_content(verdict, images, question=question, a=a, b=b))
    picture = draw(layout, path.suffix.lower().removeprefix("."))
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise _refuse(path, error) from error


def _refuse(path: Path, error: OSError) -> CardPathError:
    return CardPathError(
        f"The card's file {str(path)!r} cannot be written ({error.strerror}). Name one that you may write."
    )


def draw(layout: Layout, kind: str) -> bytes:
    """The file of a card. kind: `png`, `svg` or `pdf`."""
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with use_style(is_hinted=False):
        figure = Figure(figsize=(layout.width / 100, layout.height / 100), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for order, shape in enumerate(layout.shapes):
            _draw_shape(axes, shape, order, layout.families)
        axes.set(xlim=(0, layout.width), ylim=(layout.height, 0), aspect="auto")
        fixed = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata=fixed)
    return file.getvalue()


def _draw_shape(axes: "Axes", shape: Shape, order: int, families: Sequence[str]) -> None:
    from matplotlib.patches import FancyBboxPatch, Patch
    from matplotlib.patches import Rectangle as SharpRectangle

    if isinstance(shape, Rectangle):
        corner, size = (shape.x, shape.y), (shape.width, shape.height)
        style = f"round,pad=0,rounding_size={min(shape.radius, shape.width / 2, shape.height / 2)}"
        patch: Patch = FancyBboxPatch(corner, *size, boxstyle=style) if shape.radius else SharpRectangle(corner, *size)
        patch.set(
            facecolor=shape.face,
            edgecolor=shape.edge,
            linewidth=_POINTS * shape.edge_width if shape.edge != "none" else 0,
            hatch="///" if shape.is_hatched else None,
            zorder=order,
        )
        axes.add_patch(patch)
    elif isinstance(shape, Stroke):
        dashes = (0, tuple(_POINTS * length for length in shape.dashes)) if shape.dashes else "-"
        axes.plot(
            [shape.x1, shape.x2],
            [shape.y1, shape.y2],
            color=shape.colour,
            linewidth=_POINTS * shape.width,
            linestyle=dashes,
            solid_capstyle="butt",
            scalex=False,
            scaley=False,
            zorder=order,
        )
    elif isinstance(shape, Words):
        axes.text(
            shape.x,
            shape.y,
            shape.text,
            fontfamily=FAMILY if shape.bold else list(families),
            fontsize=_POINTS * shape.size,
            fontweight="bold" if shape.bold else "normal",
            color=shape.colour,
            horizontalalignment=shape.align,
            verticalalignment="baseline",
            parse_math=False,
            zorder=order,
        )
    else:
        _draw_picture(axes, shape, order)


def _draw_picture(axes: "Axes", shape: Picture, order: int) -> None:
    extent = (shape.x, shape.x + shape.width, shape.y + shape.height, shape.y)
    axes.imshow(np.asarray(shape.image), extent=extent, aspect="auto", interpolation="antialiased", zorder=order)
