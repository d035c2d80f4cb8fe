"""Image operators that take something of a picture away, for contrastive samples.

A strength lies in [0, 1]: 0 gives the picture back as it is, more is further from it, 1 leaves little to be seen. The
same seed makes the same picture. IPA (arXiv 2503.20309) names noise, blur and resizing as examples; the other kinds,
the scales and the range that strengths are drawn from are ours.
"""

import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import ImageEnhance, ImageFilter
from PIL.Image import Image, Resampling, blend, fromarray, merge
from PIL.Image import open as open_image
from pydantic import Field, model_validator

from training.jobs.config import Section

Kind = Literal["noise", "blur", "resize", "crop", "occlusion", "colour", "jpeg"]

_MAX_NOISE = 128.0
"""Standard deviation of the strongest noise, in grey levels of 256."""
_MAX_BLUR = 0.06
"""Radius of the strongest blur, as a share of the shorter side."""
_MAX_REDUCTION = 24.0
"""How many times smaller each side becomes on the way."""
_MAX_CROP, _MAX_COVERED = 0.8, 0.75
"""Share of each side that is cut away, and of the area that is covered, at strength 1."""
_CELLS = 8
"""Cells per side of the grid that patches come from."""
_GREY = (127, 127, 127)


@dataclass(frozen=True, kw_only=True, slots=True)
class Perturbation:
    """What is done to the pictures of one sample. strength: in [0, 1]."""

    kind: Kind
    strength: float
    seed: int

    def apply(self, image: Image) -> Image:
        """A picture of the same size; the very same one at strength 0. image: RGB."""
        return image if self.strength == 0 else OPERATORS[self.kind](image, self.strength, self.seed)

    def __str__(self) -> str:
        return f"{self.kind} {self.strength:.2f}"


class Perturbations(Section):
    """Which perturbations contrastive samples are drawn from."""

    kinds: tuple[Kind, ...] = Field(("noise", "blur", "resize", "crop", "occlusion", "colour", "jpeg"), min_length=1)
    min_strength: float = Field(0.3, ge=0, le=1)
    max_strength: float = Field(0.8, ge=0, le=1)

    @model_validator(mode="after")
    def _check_range(self) -> "Perturbations":
        if self.min_strength > self.max_strength:
            raise ValueError(
                f"min_strength is {self.min_strength:g} and max_strength {self.max_strength:g}; the first must not be "
                "the larger one"
            )
        return self

    def draw(self, rng: random.Random) -> Perturbation:
        """One at random: the kind, then the strength, uniformly."""
        kind, strength = rng.choice(self.kinds), rng.uniform(self.min_strength, self.max_strength)
        return Perturbation(kind=kind, strength=strength, seed=rng.getrandbits(32))


def _noise(image: Image, strength: float, seed: int) -> Image:
    pixels = np.asarray(image, dtype=np.float32)
    noise = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
    return fromarray(np.clip(np.rint(pixels + _MAX_NOISE * strength * noise), 0, 255).astype(np.uint8))


def _blur(image: Image, strength: float, seed: int) -> Image:
    del seed
    return image.filter(ImageFilter.GaussianBlur(_MAX_BLUR * strength * min(image.size)))


def _resize(image: Image, strength: float, seed: int) -> Image:
    del seed
    scale = 1 + (_MAX_REDUCTION - 1) * strength
    small = image.resize((max(1, round(image.width / scale)), max(1, round(image.height / scale))), Resampling.BOX)
    return small.resize(image.size, Resampling.BICUBIC)


def _crop(image: Image, strength: float, seed: int) -> Image:
    rng, keep = random.Random(seed), 1 - _MAX_CROP * strength
    width, height = (max(1.0, side * keep) for side in image.size)
    left, top = rng.random() * (image.width - width), rng.random() * (image.height - height)
    return image.resize(image.size, Resampling.BICUBIC, box=(left, top, left + width, top + height))


def _occlusion(image: Image, strength: float, seed: int) -> Image:
    cells = np.random.default_rng(seed).permutation(_CELLS**2)[: round(_MAX_COVERED * strength * _CELLS**2)]
    covered = image.copy()
    for cell in cells.tolist():
        row, column = divmod(cell, _CELLS)
        box = (
            image.width * column // _CELLS,
            image.height * row // _CELLS,
            image.width * (column + 1) // _CELLS,
            image.height * (row + 1) // _CELLS,
        )
        covered.paste(_GREY, box)
    return covered


def _colour(image: Image, strength: float, seed: int) -> Image:
    rng = random.Random(seed)
    order = rng.choice(((1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0)))
    bands = image.split()
    changed: Image = merge("RGB", [bands[number] for number in order])
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        changed = enhance(changed).enhance(rng.choice((0.6, 1.5)))
    return blend(image, changed, strength)


def _jpeg(image: Image, strength: float, seed: int) -> Image:
    del seed
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=max(1, round(95 * (1 - strength))))
    with open_image(buffer) as stored:
        return stored.convert("RGB")


OPERATORS: Mapping[Kind, Callable[[Image, float, int], Image]] = {
    "noise": _noise,
    "blur": _blur,
    "resize": _resize,
    "crop": _crop,
    "occlusion": _occlusion,
    "colour": _colour,
    "jpeg": _jpeg,
}
"""By kind: image (RGB), strength in (0, 1], seed → another image of its size."""
