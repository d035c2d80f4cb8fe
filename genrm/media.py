"""Untrusted bytes in, a picture as people see it out: upright, opaque, RGB.

Order of defence: size in bytes; kind by content, never by name; size in pixels from the header, read by our own code
(`genrm.image_header`) before any decoder runs; then one decoder, that of the announced kind, whose idea of the size
must agree. What is decoded is turned as its EXIF orientation says, laid on white where it is transparent, and reduced
to its first frame, because otherwise model and people would look at different pictures.

Nothing here changes Pillow's global state, so it is safe in threads and beside other code, and no message of the
decoder reaches a caller. Colour profiles are ignored: sample values are taken as sRGB. Nothing is fetched or read from
disk.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from genrm.errors import ImageTooLargeError, InvalidImageError
from genrm.image_header import ImageFormat, ImageHeader, hides_still_picture, read_header, sniff_format

__all__ = ["ImageLimits", "ImageTooLargeError", "decode_image", "decode_images", "hash_image"]


class _PlainJpegFile(JpegImageFile):
    """A JPEG whose EXIF data Pillow leaves alone."""

    def _read_dpi_from_exif(self) -> None:
        """Nothing: the resolution is of no use here, and to find it Pillow would parse all that is there, with
        warnings.
        """


_DECODERS: dict[ImageFormat, Callable[[io.BytesIO], ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": _PlainJpegFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
}
_PNG_BIT_DEPTH = 24
"""Where a PNG says how many bits a sample has."""
_WHITE = (255, 255, 255)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored picture upright, by its EXIF orientation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """Which pictures are accepted."""

    max_image_bytes: int = 20 * 2**20
    """Size of one encoded file."""
    max_image_pixels: int = 40_000_000
    """Width × height of one picture."""
    max_images: int = 8
    """Pictures in one comparison."""
    min_image_side_pixels: int = 8
    """Shortest side. Smaller ones show nothing that could be judged."""
    max_image_aspect_ratio: float = 100.0
    """Longer side ÷ shorter side. Qwen2-VL's processor refuses more than 200, and thinner strips are illegible
    anyway."""


_DEFAULT_LIMITS = ImageLimits()


def decode_image(data: bytes, *, limits: ImageLimits = _DEFAULT_LIMITS) -> Image.Image:
    """The picture that `data` shows, in mode RGB and without metadata. Takes CPU time; safe to call from many threads.

    data: a whole PNG, JPEG, WebP or GIF file. Raises ImageTooLargeError over the limit on bytes or pixels,
    InvalidImageError for anything else that is no acceptable picture; neither repeats what the decoder said.
    """
    header = _check_header(data, limits)
    if header.format == "PNG" and hides_still_picture(data):
        raise InvalidImageError(
            "The PNG file is an animation that never shows its still picture, so people and model would see different "
            "ones. Save the picture that is meant as a still PNG."
        )
    try:
        with _DECODERS[header.format](io.BytesIO(data)) as image:
            if image.size != (header.width, header.height):
                raise InvalidImageError(
                    f"The {header.format} file gives its size in two ways that do not agree. Save it anew with an "
                    "image editor."
                )
            picture = _flatten(image, bit_depth=data[_PNG_BIT_DEPTH] if header.format == "PNG" else 8)
            turn = _UPRIGHT.get(_read_orientation(image.info.get("exif", b"")))  # a PNG may have it behind its pixels
    except (InvalidImageError, MemoryError):
        raise
    except Exception as error:
        raise InvalidImageError(
            f"The {header.format} file is damaged or cut short: its pixels cannot be decoded. Send the whole, intact "
            "file."
        ) from error
    picture = picture if turn is None else picture.transpose(turn)
    picture.info = {}
    return picture


def decode_images(files: Sequence[bytes], *, limits: ImageLimits = _DEFAULT_LIMITS) -> tuple[Image.Image, ...]:
    """All pictures of one comparison. Raises as `decode_image` does, and ImageTooLargeError if there are too many."""
    if len(files) > limits.max_images:
        raise ImageTooLargeError(
            f"The comparison has {len(files)} images; the limit is {limits.max_images}. Send fewer, or raise "
            "GENRM_MAX_IMAGES."
        )
    return tuple(decode_image(data, limits=limits) for data in files)


def _check_header(data: bytes, limits: ImageLimits) -> ImageHeader:
    """Refuse by size and kind before anything is decoded."""
    if len(data) > limits.max_image_bytes:
        raise ImageTooLargeError(
            f"The image file has {len(data):,} bytes; the limit is {limits.max_image_bytes:,}. Compress or resize it, "
            "or raise GENRM_MAX_IMAGE_BYTES."
        )
    image_format = sniff_format(data)
    if image_format is None:
        what = "is empty" if not data else "is no PNG, JPEG, WebP or GIF, judged by its content"
        raise InvalidImageError(f"The image file {what}. Send a file of one of these kinds.")
    header = read_header(data)
    if header is None or not header.width or not header.height:
        raise InvalidImageError(
            f"The {image_format} file is damaged or cut short: it has no usable header. Send the whole file."
        )
    size = f"Image is {header.width}x{header.height} pixels"
    num_pixels = header.width * header.height
    if num_pixels > limits.max_image_pixels:
        raise ImageTooLargeError(
            f"{size} ({num_pixels / 1e6:.1f} MP); the limit is {limits.max_image_pixels / 1e6:g} MP. Resize it, or "
            "raise GENRM_MAX_IMAGE_PIXELS."
        )
    short, long = sorted((header.width, header.height))
    if short < limits.min_image_side_pixels:
        raise InvalidImageError(
            f"{size}; each side must have at least {limits.min_image_side_pixels}. Send a larger picture, or lower "
            "GENRM_MIN_IMAGE_SIDE_PIXELS."
        )
    if long > limits.max_image_aspect_ratio * short:
        raise InvalidImageError(
            f"{size}; its longer side may be at most {limits.max_image_aspect_ratio:g} times its shorter one. Crop it, "
            "or send it in parts."
        )
    return header


def _flatten(image: Image.Image, *, bit_depth: int) -> Image.Image:
    """The first frame in RGB, on white where it is transparent. Decodes the pixels.

    bit_depth: bits that a sample has in the file; of 16 the upper eight are kept. Raises InvalidImageError if a
    transparent colour is given by the lower ones as well.
    """
    image.load()
    transparency = image.info.get("transparency")  # a colour (in samples of the file's depth), an index or alpha values
    if image.mode == "I;16":  # grey; Pillow's own conversion would clip it instead of scaling it
        samples = np.asarray(image, dtype=np.uint16)
        grey = (samples >> 8).astype(np.uint8)
        if transparency is not None:
            grey[samples == transparency] = 255
        return Image.fromarray(grey).convert("RGB")
    if bit_depth == 16 and isinstance(transparency, tuple):
        raise InvalidImageError(
            "The PNG file has 16 bits a sample and a transparent colour, which cannot be told from its neighbours in 8 "
            "bits. Save it with 8 bits a sample, or with an alpha channel."
        )
    if bit_depth in {2, 4} and image.mode == "L" and transparency is not None:  # Pillow scales the samples alone
        largest = 2**bit_depth - 1
        image.info["transparency"] = (transparency & largest) * (255 // largest)
    if transparency is None and image.mode in {"1", "L", "P", "RGB", "CMYK", "YCbCr"}:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    picture = Image.new("RGB", image.size, _WHITE)
    picture.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return picture


def _read_orientation(exif: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if there is none or the data make no sense.

    Only the first directory of the embedded TIFF is looked at, for that one entry: Pillow's reader would parse
    everything an attacker cares to put there.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"
    if tiff[:4] not in {b"II*\0", b"MM\0*"}:
        return 1
    directory = int.from_bytes(tiff[4:8], order)
    num_entries = int.from_bytes(tiff[directory : directory + 2], order)
    for index in range(num_entries):
        start = directory + 2 + 12 * index
        entry = tiff[start : start + 12]
        if int.from_bytes(entry[:2], order) == _ORIENTATION_TAG:
            orientation = int.from_bytes(entry[8:10], order)
            return orientation if orientation in _UPRIGHT else 1
    return 1


def hash_image(image: Image.Image) -> bytes:
    """256 bits that differ for decoded pictures that differ in a pixel, in size or in mode."""
    digest = hashlib.blake2b(f"{image.mode} {image.width} {image.height} ".encode(), digest_size=32)
    digest.update(image.tobytes())
    return digest.digest()
