"""Pictures on their way in: data URLs, uploaded files and, from listed hosts, remote URLs become decoded images.

Everything that can be refused cheaply is refused first, for all pictures of a request before any of them is fetched:
their number, remote URLs that are not allowed, the byte size that base64 text will decode to; and then, before any of
them is decoded, the pixels that headers announce. Reading and decoding (`genrm.media`) run in a thread so that the
event loop keeps serving. How a picture is fetched is `service.remote_image`'s business.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from genrm.errors import InvalidImageError
from genrm.image_header import read_header
from genrm.media import ImageLimits, decode_image
from service.errors import RefusalError, describe_failure
from service.pixel_budget import PixelShare
from service.remote_image import ImageFetcher, RemoteImage
from service.remote_url import is_remote
from service.validation import shorten

_DATA_HEADER = re.compile(r"data:[\w.+-]*(?:/[\w.+-]*)?(?:;[\w.+-]+=[^;]*)*;base64", re.IGNORECASE)
_MAX_DATA_HEADER_CHARACTERS = 200
_MAX_TOTAL_PIXELS_FACTOR = 2
"""Pixels of all pictures of a request together, as a multiple of what one may have."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as it came in.

    param: the field that holds it, as the caller names it. content: a file's bytes, or a URL's text.
    """

    param: str
    content: bytes | str


async def decode_pictures(
    pictures: Sequence[Picture],
    *,
    limits: ImageLimits,
    fetcher: ImageFetcher | None = None,
    share: PixelShare | None = None,
) -> tuple[Image, ...]:
    """All pictures, decoded, upright and without alpha, in the order given.

    fetcher: gets those that are remote URLs; None fetches nothing. share: takes their pixels before they are decoded;
    None is without limit. Raises RefusalError with the field at fault: no picture, too many, a remote URL that is not
    allowed or not to be had, broken base64, over a limit, or not an image; and without one if others hold too much.
    """
    if not pictures:
        raise RefusalError(
            "missing_field",
            "The request has no image. Give 'image': {'url': 'data:image/png;base64,…'}, several as 'images', or "
            "files named 'image' in a form.",
            param="image",
        )
    if len(pictures) > limits.max_images:
        raise RefusalError(
            "too_many_images",
            f"The request has {len(pictures)} images; the limit is {limits.max_images}. Send fewer, or raise "
            "GENRM_MAX_IMAGES.",
            param="images",
        )
    found = await asyncio.to_thread(_read_all, pictures, limits, fetcher)
    remote = [each for each in found if isinstance(each, RemoteImage)]
    fetched = iter(await fetcher.fetch_all(remote, limits) if remote and fetcher else ())
    files = [each if isinstance(each, bytes) else next(fetched) for each in found]
    return await asyncio.to_thread(_decode_all, pictures, files, limits, share)


def _decode_all(
    pictures: Sequence[Picture], files: Sequence[bytes], limits: ImageLimits, share: PixelShare | None
) -> tuple[Image, ...]:
    num_pixels = sum(_count_pixels(picture, data, limits) for picture, data in zip(pictures, files, strict=True))
    if num_pixels > _MAX_TOTAL_PIXELS_FACTOR * limits.max_image_pixels:
        raise RefusalError(
            "image_too_large",
            f"The {len(pictures)} images have {num_pixels / 1e6:.1f} MP together; the limit is "
            f"{_MAX_TOTAL_PIXELS_FACTOR * limits.max_image_pixels / 1e6:g} MP, {_MAX_TOTAL_PIXELS_FACTOR} times that "
            "of one image. Resize them, send fewer, or raise GENRM_MAX_IMAGE_PIXELS.",
            param="images",
        )
    if share is not None:
        share.take(num_pixels)
    return tuple(_decode(picture, data, limits) for picture, data in zip(pictures, files, strict=True))


def _read_all(
    pictures: Sequence[Picture], limits: ImageLimits, fetcher: ImageFetcher | None
) -> list[bytes | RemoteImage]:
    return [_read_file(picture, limits, fetcher) for picture in pictures]


def _read_file(picture: Picture, limits: ImageLimits, fetcher: ImageFetcher | None) -> bytes | RemoteImage:
    if isinstance(picture.content, bytes):
        return picture.content
    if fetcher is not None and fetcher.is_active and is_remote(picture.content):
        return fetcher.check(picture.content, picture.param)
    return read_data_url(picture.content, picture.param, limits)


def _count_pixels(picture: Picture, data: bytes, limits: ImageLimits) -> int:
    """What a decoder would allocate, by the file's header. Raises RefusalError if that alone is reason enough."""
    header = read_header(data) if len(data) <= limits.max_image_bytes else None
    num_pixels = 0 if header is None else header.width * header.height
    if not 0 < num_pixels <= limits.max_image_pixels:
        _decode(picture, data, limits)  # refuses it, in its own words and before any pixel
    return num_pixels


def _decode(picture: Picture, data: bytes, limits: ImageLimits) -> Image:
    try:
        return decode_image(data, limits=limits)
    except InvalidImageError as error:
        raise RefusalError(describe_failure(error).code, str(error), param=picture.param) from None


def read_data_url(url: str, param: str, limits: ImageLimits) -> bytes:
    """The bytes inside a base64 data URL.

    param: the field that holds it, for the message. Raises RefusalError for remote and other URLs, for base64 that is
    not strictly valid, and for content over `limits.max_image_bytes`, the last without decoding it.
    """
    header, comma, _ = url[:_MAX_DATA_HEADER_CHARACTERS].partition(",")
    if not comma or not _DATA_HEADER.fullmatch(header):
        raise _refuse_url(url, param)
    start = len(header) + 1
    num_bytes = (len(url) - start) * 3 // 4
    if num_bytes - 2 > limits.max_image_bytes:
        raise RefusalError(
            "image_too_large",
            f"The image has about {num_bytes:,} bytes; the limit is {limits.max_image_bytes:,}. Compress or resize "
            "it, or raise GENRM_MAX_IMAGE_BYTES.",
            param=param,
        )
    try:
        return base64.b64decode(url[start:], validate=True)
    except (binascii.Error, ValueError):
        raise RefusalError(
            "invalid_value",
            "The data URL's content is not valid base64; the standard alphabet with padding and without white space is "
            "allowed. Encode the image file's bytes again.",
            param=param,
        ) from None


def _refuse_url(url: str, param: str) -> RefusalError:
    if is_remote(url):
        return RefusalError(
            "remote_image_refused",
            f"The image is a remote URL ({shorten(url)}); this service fetches nothing. Send the picture itself: a "
            "data URL 'data:image/png;base64,…', or a file in a multipart form. Or have the operator list the host in "
            "GENRM_IMAGE_HOSTS.",
            param=param,
        )
    return RefusalError(
        "invalid_value",
        f"The image's URL starts with {shorten(url)!r}; only 'data:image/png;base64,…' and its like are allowed. "
        "Send the picture as a data URL with base64 content, or as a file in a multipart form.",
        param=param,
    )
