"""The images of a comparison, read once more for its card."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL.Image import Image

from genrm.media import ImageLimits, decode_images
from service.exchange import read_picture

_ANY_SIZE = ImageLimits(
    max_image_bytes=sys.maxsize,
    max_image_pixels=sys.maxsize,
    max_images=sys.maxsize,
    min_image_side_pixels=1,
    max_image_aspect_ratio=math.inf,
)
"""The service that judged them has its own limits, and they were within."""


def read_images(paths: Sequence[Path]) -> tuple[Image, ...]:
    """The images as the judge saw them: RGB, upright, of any size. Raises InvalidImageError."""
    return decode_images([read_picture(path) for path in paths], limits=_ANY_SIZE)
