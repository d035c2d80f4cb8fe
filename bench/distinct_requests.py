"""Requests of all kinds that a service gets, as ready-made bytes, each with a picture and a question of its own.

The pictures are those of the samples, in 256 colours and with a few pixels changed, so no two requests have a picture
in common and nothing can be answered from what was computed before. They are stored in the PNG without compression:
changing pixels and two checksums takes microseconds, where compressing anew would take a load generator's whole core.
"""

import base64
import io
import itertools
import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from PIL import Image

from bench.serving import load_pairs

Kind = Literal["critique", "fast", "stream", "form", "rerank", "bad"]
KINDS: tuple[Kind, ...] = ("critique", "fast", "stream", "form", "rerank", "bad")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BOUNDARY = "genrm-bench-boundary"
_MARKED_PIXELS = 4


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. number: unique within a run. wire: all of its bytes; `X-Request-Id` is `request_id`."""

    number: int
    kind: Kind
    request_id: str
    wire: bytes


class Picture:
    """A picture that comes in as many versions as there are numbers."""

    def __init__(self, file: bytes) -> None:
        picture = Image.open(io.BytesIO(file)).convert("RGB").quantize(256)
        width, height = picture.size
        self._head = _SIGNATURE + pack_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        self._head += pack_chunk(b"PLTE", bytes(picture.getpalette() or ()).ljust(768, b"\0"))
        pixels = picture.tobytes()
        self._lines = b"".join(b"\0" + pixels[start : start + width] for start in range(0, width * height, width))

    def draw(self, number: int) -> bytes:
        """A PNG whose first pixels spell `number`."""
        mark = number.to_bytes(_MARKED_PIXELS, "big")
        lines = self._lines[:1] + mark + self._lines[1 + len(mark) :]
        return self._head + pack_chunk(b"IDAT", zlib.compress(lines, 0)) + pack_chunk(b"IEND", b"")


def pack_chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


class RequestSource:
    """Makes requests, numbered from `start`.

    folder: comparisons as `vl-genrm pocket export` writes them. run: goes before the number in every request's id.
    """

    def __init__(self, folder: Path, *, run: str = "bench", start: int = 1) -> None:
        self._pairs = load_pairs(folder)
        self._pictures = [Picture(pair.image) for pair in self._pairs]
        self._run = run
        self._numbers = itertools.count(start)

    def make(self, kind: Kind) -> Request:
        """The next request, of a kind."""
        number = next(self._numbers)
        pair = self._pairs[number % len(self._pairs)]
        image = self._pictures[number % len(self._pictures)].draw(number)
        fields = {
            "question": f"{pair.question} ({number})",
            "response_a": pair.response_a,
            "response_b": pair.response_b,
            "mode": "fast" if kind == "fast" else "critique",
        }
        path, content_type, body = "/v1/judge", "application/json", b""
        match kind:
            case "form":
                content_type, body = f"multipart/form-data; boundary={_BOUNDARY}", build_form(fields, image)
            case "rerank":
                path, body = "/v1/rerank", _dump(self._build_ranking(fields, image, number))
            case "bad":
                path, content_type, body = self._build_bad(fields, image, number)
            case _:
                stream = {"stream": True} if kind == "stream" else {}
                body = _dump({**fields, **stream, "image": {"url": to_data_url(image)}})
        request_id = f"{self._run}-{number}"
        return Request(
            number=number,
            kind=kind,
            request_id=request_id,
            wire=build_request("POST", path, body, content_type=content_type, request_id=request_id),
        )

    def _build_ranking(self, fields: dict[str, str], image: bytes, number: int) -> dict[str, object]:
        responses = [fields["response_a"], fields["response_b"], f"I count {2 + number % 7} of them."]
        return {
            "query": fields["question"],
            "image": {"url": to_data_url(image)},
            "documents": responses,
            "mode": "fast",
            "strategy": "knockout",
        }

    def _build_bad(self, fields: dict[str, str], image: bytes, number: int) -> tuple[str, str, bytes]:
        """What callers get wrong, in turn: a cut picture, no JSON, a field too many, an empty text, no such path."""
        good: dict[str, object] = {**fields, "image": {"url": to_data_url(image)}}
        bodies = (
            _dump({**good, "image": {"url": to_data_url(image[: len(image) // 2])}}),
            _dump(good)[:-9],
            _dump({**good, "temprature": 1}),
            _dump({**good, "question": " "}),
        )
        choice = number % (len(bodies) + 1)
        if choice == len(bodies):
            return "/v1/judges", "application/json", _dump(good)
        return "/v1/judge", "application/json", bodies[choice]


def mix_kinds(weights: Sequence[tuple[Kind, int]], seed: int) -> Iterator[Kind]:
    """Kinds without end, drawn by their weights."""
    kinds, shares = zip(*weights, strict=True)
    random = Random(seed)
    while True:
        yield from random.choices(kinds, shares, k=100)


def build_request(
    method: str, path: str, body: bytes, *, content_type: str, request_id: str, length: int | None = None
) -> bytes:
    """A whole HTTP request. length: the content length that it claims; the true one by default."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: service\r\nContent-Type: {content_type}\r\nX-Request-Id: {request_id}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode("latin-1", "replace") + body


def build_form(fields: dict[str, str], image: bytes, boundary: str = _BOUNDARY) -> bytes:
    """The multipart body of a judgement."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="i.png"\r\n\r\n'.encode()
    return b"".join([*parts, file, image, f"\r\n--{boundary}--\r\n".encode()])


def to_data_url(image: bytes) -> str:
    """The data URL of a file."""
    return "data:image/png;base64," + base64.b64encode(image).decode()


def _dump(body: dict[str, object]) -> bytes:
    return json.dumps(body).encode()
