"""What kind of picture some bytes are, and how large it will be, without decoding it or trusting its name.

Decoders allocate by what a header says, so the header is read here first, by code that allocates nothing, and refused
sizes never reach a decoder. Only the few fields that decide the decoded size are read, and those that decide which
picture of an animated PNG people see; whether the rest is sound is the decoder's business. Formats: PNG, JPEG, WebP
(lossy, lossless, extended) and GIF (the first frame). No other kind is known here.

Files that are small but slow are turned away as well: millions of empty chunks, or a JPEG that paints its pixels
hundreds of times. Both are legal and neither is what a camera or an editor writes.
"""

import re
from dataclasses import dataclass
from typing import Literal

ImageFormat = Literal["PNG", "JPEG", "WEBP", "GIF"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0…SOF15 without DHT, JPG and DAC
_JPEG_FILL = re.compile(rb"[^\xff]*\xff+")
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0…RST7, SOI: no length follows

MAX_BLOCKS = 65_536
"""Chunks, segments, sub-blocks or stray bytes that are stepped over."""
MAX_JPEG_SCANS = 100
"""Times that a progressive JPEG may paint its pixels; ten is usual."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageHeader:
    """Kind and decoded size of a picture. width, height: pixels as stored, before any EXIF rotation; may be 0 in a bad
    file.
    """

    format: ImageFormat
    width: int
    height: int


def sniff_format(data: bytes) -> ImageFormat | None:
    """The kind of picture that the first bytes announce; None if it is none of ours."""
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def read_header(data: bytes) -> ImageHeader | None:
    """Kind and size of a picture; None if the header is cut short or makes no sense.

    data: a whole file of one of our formats, as `sniff_format` found. The size covers everything a decoder would
    allocate for the first frame: for a GIF the screen, widened by a frame that reaches beyond it.
    """
    readers = {"PNG": _read_png, "JPEG": _read_jpeg, "GIF": _read_gif, "WEBP": _read_webp}
    image_format = sniff_format(data)
    if image_format is None:
        return None
    try:
        size = readers[image_format](data)
    except IndexError:  # the file ends inside its header
        return None
    return None if size is None else ImageHeader(format=image_format, width=size[0], height=size[1])


def hides_still_picture(data: bytes) -> bool:
    """Whether a PNG is an animation of which the still picture is no frame: browsers show the frames, plain decoders
    the still.

    data: a PNG whose header `read_header` has accepted. A frame's header (fcTL) that does not span the whole picture
    makes no frame of the still.
    """
    position, is_animated, is_frame = len(_PNG_SIGNATURE), False, False
    whole = data[16:24] + bytes(8)  # width, height, and no offset
    while position < len(data):
        kind, content = data[position + 4 : position + 8], position + 8
        if kind == b"IDAT":
            break
        is_animated = is_animated or kind == b"acTL"
        is_frame = is_frame or (kind == b"fcTL" and data[content + 4 : content + 20] == whole)
        position = content + int.from_bytes(data[position : position + 4]) + 4
    return is_animated and not is_frame


def _read_png(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    position = len(_PNG_SIGNATURE)
    for _ in range(MAX_BLOCKS):
        if position >= len(data):
            return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
        position += 12 + int.from_bytes(data[position : position + 4])
    return None


def _read_jpeg(data: bytes) -> tuple[int, int] | None:
    """Walk the segments up to the first pixels; the first frame header on the way counts."""
    if data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        return None
    size = None
    position, num_stray_bytes = 2, 0
    for _ in range(MAX_BLOCKS):
        fill = _JPEG_FILL.match(data, position)
        if fill is None:
            return None
        num_stray_bytes += fill.end() - position - 1
        marker, position = data[fill.end()], fill.end() + 1
        if marker == 0xDA:
            return size
        if marker == 0xD9 or num_stray_bytes > MAX_BLOCKS:
            return None
        if marker in _JPEG_FRAME_MARKERS and size is None:
            size = _big(data, position + 5), _big(data, position + 3)
        if marker not in _JPEG_BARE_MARKERS and marker != 0:
            position += max(2, _big(data, position))
    return None


def _read_gif(data: bytes) -> tuple[int, int] | None:
    """The screen, widened by the first frame; extensions before that are stepped over."""
    width, height = _little(data, 6, 2), _little(data, 8, 2)
    position = 13 + _palette_bytes(data[10])
    in_extension = False
    for _ in range(MAX_BLOCKS):
        block = data[position]
        if in_extension:  # a sub-block: its length, then as many bytes; an empty one ends the extension
            position += 1 + block
            in_extension = block > 0
        elif block == 0x21:  # an extension: introducer and label
            position += 2
            in_extension = True
        elif block == 0x2C:  # an image
            left, top, frame_width, frame_height = (_little(data, position + offset, 2) for offset in (1, 3, 5, 7))
            return max(width, left + frame_width), max(height, top + frame_height)
        elif block == 0x3B:  # the end, before any image
            return None
        else:  # padding
            position += 1
    return None


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _read_webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    return None


def _big(data: bytes, start: int) -> int:
    """A big-endian number of two bytes. Raises IndexError if the data end before it does."""
    return data[start] << 8 | data[start + 1]


def _little(data: bytes, start: int, length: int) -> int:
    """A little-endian number. Raises IndexError if the data end before it does."""
    if start + length > len(data):
        raise IndexError(start)
    return int.from_bytes(data[start : start + length], "little")
