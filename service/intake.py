"""Pictures on their way in: data URLs and uploaded files become decoded images.

Everything that can be refused cheaply is refused first: the number of pictures, remote URLs, and the byte size that
base64 text will decode to. Decoding itself (`genrm.media`) runs in a thread so that the event loop keeps serving.
Nothing is ever fetched.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image

from genrm.errors import InvalidImageError
from genrm.media import ImageLimits, decode_image
from service.errors import RefusalError, describe_failure
from service.validation import shorten

_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)
_URL_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as it came in.

    param: the field that holds it, as the caller names it. content: a file's bytes, or a URL's text.
    """

    param: str
    content: bytes | str


async def decode_pictures(pictures: Sequence[Picture], *, limits: ImageLimits) -> tuple[Image, ...]:
    """All pictures, decoded, upright and without alpha, in the order given.

    Raises RefusalError with the field at fault: no picture, too many, a remote URL, broken base64, over a limit, or
    not an image.
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
    return await asyncio.to_thread(lambda: tuple(_decode(picture, limits) for picture in pictures))


def _decode(picture: Picture, limits: ImageLimits) -> Image:
    data = (
        picture.content if isinstance(picture.content, bytes) else read_data_url(picture.content, picture.param, limits)
    )
    try:
        return decode_image(data, limits=limits)
    except InvalidImageError as error:
        raise RefusalError(describe_failure(error).code, str(error), param=picture.param) from None


def read_data_url(url: str, param: str, limits: ImageLimits) -> bytes:
    """The bytes inside a base64 data URL.

    param: the field that holds it, for the message. Raises RefusalError for remote and other URLs, for base64 that is
    not strictly valid, and for content over `limits.max_image_bytes`, the last without decoding it.
    """
    header = _DATA_URL.match(url)
    if header is None:
        raise _refuse_url(url, param)
    num_bytes = (len(url) - header.end()) * 3 // 4
    if num_bytes - 2 > limits.max_image_bytes:
        raise RefusalError(
            "image_too_large",
            f"The image has about {num_bytes:,} bytes; the limit is {limits.max_image_bytes:,}. Compress or resize "
            "it, or raise GENRM_MAX_IMAGE_BYTES.",
            param=param,
        )
    try:
        return base64.b64decode(url[header.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise RefusalError(
            "invalid_value",
            "The data URL's content is not valid base64; the standard alphabet with padding and without white space is "
            "allowed. Encode the image file's bytes again.",
            param=param,
        ) from None


def _refuse_url(url: str, param: str) -> RefusalError:
    scheme = _URL_SCHEME.match(url)
    if scheme and scheme.group().lower() in ("http:", "https:"):
        return RefusalError(
            "remote_image_refused",
            f"The image is a remote URL ({shorten(url)}); this service fetches nothing. Send the picture itself: a "
            "data URL 'data:image/png;base64,…', or a file in a multipart form.",
            param=param,
        )
    return RefusalError(
        "invalid_value",
        f"The image's URL starts with {shorten(url)!r}; only 'data:image/png;base64,…' and its like are allowed. "
        "Send the picture as a data URL with base64 content, or as a file in a multipart form.",
        param=param,
    )
