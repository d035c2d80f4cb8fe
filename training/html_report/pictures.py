"""Pictures inside a page: data URLs, small enough that the file stays one that can be mailed.

A row's pictures become thumbnails, JPEG or PNG, whichever is smaller. Plots are taken as they are. One `Album` serves
one page and stops when its space is used up; what is left out is said, never silently dropped.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from genrm.errors import GenRMError

MAX_SIDE = 320
MAX_PER_ROW = 4
MAX_BYTES = 3_000_000
"""Of all pictures of a page, before base64, which makes them a third larger."""
_JPEG_QUALITY = 85
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture to show. url: a data URL. width, height: in pixels."""

    url: str
    width: int
    height: int


class Album:
    """The pictures of one page. max_bytes: for all of them."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._left = max_bytes

    def add_plot(self, path: Path) -> Picture | None:
        """A PNG file as it is; None if there is none, or no space for it."""
        if not path.is_file():
            return None
        data = path.read_bytes()
        if not data.startswith(_PNG):
            return None
        with Image.open(io.BytesIO(data)) as image:
            return self._add(data, "png", image.size)

    def add_row(self, load: Callable[[], Sequence[Image.Image]]) -> tuple[list[Picture], str]:
        """Thumbnails of a row's pictures, and what a reader must know of missing ones; empty if nothing is missing."""
        try:
            images = list(load())
            thumbnails = [encode_thumbnail(image) for image in images[:MAX_PER_ROW]]
        except GenRMError as error:
            return [], f"The picture cannot be shown: {error}"
        except Exception as error:  # noqa: BLE001 - whatever a file does to a decoder, the page is made
            return [], f"The picture cannot be shown ({type(error).__name__})."
        shown = [found for each in thumbnails if (found := self._add(*each)) is not None]
        missing = len(images) - len(shown)
        return shown, f"{missing} of {len(images)} pictures are left out to keep this file small." if missing else ""

    def _add(self, data: bytes, kind: str, size: tuple[int, int]) -> Picture | None:
        if len(data) > self._left:
            return None
        self._left -= len(data)
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        return Picture(url=url, width=size[0], height=size[1])


def encode_thumbnail(image: Image.Image) -> tuple[bytes, str, tuple[int, int]]:
    """A picture of at most `MAX_SIDE` pixels a side: its file, `jpeg` or `png`, and its size."""
    small = image.convert("RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    files = {"jpeg": io.BytesIO(), "png": io.BytesIO()}
    small.save(files["jpeg"], "JPEG", quality=_JPEG_QUALITY, optimize=True)
    small.save(files["png"], "PNG", optimize=True)
    kind = min(files, key=lambda name: files[name].getbuffer().nbytes)
    return files[kind].getvalue(), kind, small.size
