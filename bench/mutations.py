"""Pictures, bodies and whole requests, spoilt at random: what a service must refuse, or answer, but never trip over.

Everything follows from one seeded generator, so a finding can be made again. Pictures are spoilt as files are in
transit and by people who attack decoders: bits flipped, ends cut off, chunks repeated, sizes in headers changed,
formats joined. Bodies are spoilt as programs get them wrong: other types, deep nesting, numbers without end, broken
text, boundaries that do not fit. Framing is spoilt too: lengths that are not true. What comes of it is judged by
`bench/fuzz.py`.
"""

import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image

from bench.distinct_requests import build_form, build_request, to_data_url

_BOUNDARY = "fuzz"
_NUMBERS = (0, 1, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True)
class Spoilt:
    """A request that is spoilt. is_framed: whether its length and its lines are still HTTP, so an answer is due."""

    kind: str
    wire: bytes
    is_framed: bool = True


def draw_pictures() -> list[bytes]:
    """Small files of every format and of the variants that decoders treat differently."""
    picture = Image.frombytes("RGB", (64, 48), Random(0).randbytes(64 * 48 * 3))
    picture.paste((200, 30, 30), (8, 8, 40, 30))
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    blue = Image.new("RGB", (64, 48), "blue")
    variants: list[tuple[Image.Image, str, dict[str, object]]] = [
        (picture, "PNG", {}),
        (picture.convert("RGBA"), "PNG", {"exif": exif}),
        (picture.convert("P"), "PNG", {"transparency": 0}),
        (picture.convert("I").convert("I;16"), "PNG", {}),
        (picture, "JPEG", {"exif": exif, "quality": 80}),
        (picture, "JPEG", {"progressive": True}),
        (picture.convert("CMYK"), "JPEG", {}),
        (picture, "WEBP", {"exif": exif}),
        (picture.convert("RGBA"), "WEBP", {"lossless": True}),
        (picture.convert("P"), "GIF", {"save_all": True, "append_images": [blue.convert("P")]}),
    ]
    files = []
    for image, kind, options in variants:
        file = io.BytesIO()
        image.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def spoil_picture(random: Random, files: Sequence[bytes]) -> bytes:
    """One of the files, spoilt in one to three ways."""
    data = random.choice(files)
    for _ in range(random.randint(1, 3)):
        data = random.choice(_PICTURE_WAYS)(random, data, files) or b"\0"
    return data


def _flip_bits(random: Random, data: bytes, files: Sequence[bytes]) -> bytes:
    del files
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 1, 4, 32))):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: random.randrange(len(data))]


def _repeat(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start = random.randrange(len(data))
    end = min(len(data), start + random.choice((4, 12, 64, 512)))
    return data[:end] + data[start:end] * random.choice((1, 2, 50)) + data[end:]


def _change_size(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Write a number that matters into the first bytes, where formats keep sizes, lengths and offsets."""
    where, number = random.randrange(min(200, len(data))), random.choice(_NUMBERS)
    packed = (
        struct.pack(random.choice((">I", "<I")), number)
        if random.random() < 0.5
        else struct.pack(">H", number & 65_535)
    )
    return data[:where] + packed + data[where + len(packed) :]


def _join(random: Random, data: bytes, files: Sequence[bytes]) -> bytes:
    other = random.choice(files)
    return data[: random.randrange(len(data))] + other[random.randrange(len(other)) :]


def _blank(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, size = random.randrange(len(data)), random.choice((1, 8, 200))
    return data[:start] + bytes([random.choice((0, 255))]) * size + data[start + size :]


_PICTURE_WAYS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip_bits, _cut, _repeat, _change_size, _join, _blank,
)  # fmt: skip


def build_picture_request(random: Random, picture: bytes, request_id: str) -> Spoilt:
    """A request that is right but for its picture. Most only have it decoded: their text claims nothing."""
    url = {"url": to_data_url(picture)}
    judgement = {"question": "How many?", "response_a": "One dog.", "response_b": "Two dogs.", "mode": "fast"}
    draw = random.random()
    if draw < 0.5:
        return _pack_json("picture", "/v1/verify", {"image": url, "text": "Well."}, request_id)
    if draw < 0.8:
        body = build_form({"text": "Well."}, picture, _BOUNDARY)
        path = random.choice(("/v1/verify", "/v1/verify?annotated=png"))
        return _pack("picture", path, body, f"multipart/form-data; boundary={_BOUNDARY}", request_id)
    if draw < 0.95:
        return _pack_json("picture", "/v1/judge", {**judgement, "image": url}, request_id)
    ranking: dict[str, object] = {
        "query": "How many?",
        "documents": ["One dog.", "Two dogs."],
        "image": url,
        "mode": "fast",
    }
    return _pack_json("picture", "/v1/rerank", ranking, request_id)


def build_body_request(random: Random, picture: bytes, request_id: str) -> Spoilt:
    """A request whose picture is right, and whose body or framing is spoilt."""
    image = {"url": to_data_url(picture)}
    path, body = random.choice(
        (
            ("/v1/judge", {"image": image, "question": "How many?", "response_a": "One.", "response_b": "Two."}),
            ("/v1/rerank", {"query": "How many?", "documents": ["One.", "Two."], "image": image}),
            ("/v1/verify", {"image": image, "text": "There is one dog."}),
        )
    )
    fast = {} if path == "/v1/verify" else {"mode": "fast"}
    draw = random.random()
    if draw < 0.6:
        return _pack("json", path, spoil_json(random, {**body, **fast}), "application/json", request_id)
    if draw < 0.85:
        texts = {name: value for name, value in ({**body, **fast}).items() if isinstance(value, str)}
        kind = random.choice(_FORM_TYPES)
        return _pack("form", path, spoil_form(random, texts, picture), kind, request_id)
    return spoil_framing(random, path, json.dumps({**body, **fast}).encode(), request_id)


def spoil_json(random: Random, fields: dict[str, object]) -> bytes:
    """The JSON of some fields with one thing wrong, or more."""
    name = random.choice([*fields, "samples", "temperature", "seed", "max_tokens", "experts", "stream", "id", "top_n"])
    text = json.dumps(fields)
    if random.random() < 0.7:
        literal = random.choice(_LITERALS)(random)
        rest = json.dumps({key: value for key, value in fields.items() if key != name})
        text = f"{rest[:-1]}, {json.dumps(name)}: {literal}}}"
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.4:
        data = random.choice(_TEXT_WAYS)(random, data)
    return data


_URLS = ("http://127.0.0.1:1/a.png", "file:///etc/hosts", "data:,", "data:a;base64,====", "\0")
_LITERALS: tuple[Callable[[Random], str], ...] = (
    lambda random: random.choice(("null", "true", "0", "-1", "1.5", '""', "[]", "{}", '"x"', "[null]", '{"url": 5}')),
    lambda random: random.choice(("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "-0", "0x10", "01")),
    lambda random: "9" * random.choice((20, 400, 5_000, 200_000)),
    lambda random: "[" * (depth := random.choice((50, 1_000, 3_900))) + "]" * depth,
    lambda random: '{"a":' * (depth := random.choice((50, 900))) + "1" + "}" * depth,
    lambda random: random.choice(('"\\ud800"', '"\\udc00x"', '"\\u0000"', '"a\\u0000b"', '"\\ud83d\\ude00"')),
    lambda random: '"' + random.choice(("\u202e", "\ufeff", "e\u0301" * 500, "\U0001f600" * 300, "\x7f")) + '"',
    lambda random: json.dumps("x" * random.choice((129, 20_001, 300_000))),
    lambda random: json.dumps([{"type": random.choice(("text", "image_url", "audio", None)), "text": 1}]),
    lambda random: json.dumps({"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}),
    lambda random: json.dumps({"url": random.choice(_URLS)}),
)  # fmt: skip


def _insert_bytes(random: Random, data: bytes) -> bytes:
    where = random.randrange(len(data))
    piece = random.choice((b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x1a", b"\\u12", b"//"))
    return data[:where] + piece + data[where:]


_TEXT_WAYS: tuple[Callable[[Random, bytes], bytes], ...] = (
    _insert_bytes,
    lambda random, data: data[: random.randrange(len(data))],
    lambda random, data: random.choice((b"\xef\xbb\xbf", b"\0", b" " * 5_000, b"[")) + data,
    lambda random, data: data + random.choice((b"\0", b"}", b"{}", b"," * 300)),
    lambda random, data: _flip_bits(random, data, ()),
    lambda random, data: data.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-32", "utf-7"))),
)

_FORM_TYPES = (
    f"multipart/form-data; boundary={_BOUNDARY}",
    f"multipart/form-data; boundary={_BOUNDARY}",
    f"multipart/form-data; boundary={_BOUNDARY}",
    f"multipart/form-data; boundary={_BOUNDARY}; charset=utf-16",
    f"multipart/form-data; boundary={_BOUNDARY}; charset=nothing",
    f'multipart/form-data; boundary="{_BOUNDARY}',
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "b" * 300,
    "multipart/form-data; boundary=other",
    "multipart/mixed; boundary=fuzz",
)


def spoil_form(random: Random, texts: dict[str, str], picture: bytes) -> bytes:
    """A form with one thing wrong, or more."""
    data = build_form(texts, picture, _BOUNDARY)
    old, new = random.choice(_FORM_EDITS)
    data = data.replace(old, new, random.choice((1, 1, 100)))
    return random.choice(_TEXT_WAYS)(random, data) if random.random() < 0.3 else data


_FORM_EDITS: tuple[tuple[bytes, bytes], ...] = (
    (b"--fuzz--", b"--fuzz"),
    (b"--fuzz--\r\n", b""),
    (b"--fuzz\r\n", b"--fuzz"),
    (b"--fuzz\r\n", b"--fuz\r\n"),
    (b"\r\n", b"\n"),
    (b"\r\n\r\n", b"\r\n"),
    (b"form-data", b"attachment"),
    (b"Content-Disposition", b"Content-Dispositio\0n"),
    (b"Content-Disposition: form-data", b"X-Other: 1"),
    (b'name="', b'name="\0'),
    (b'name="', b'name="' + b"n" * 10_000),
    (b'name="', b"name*=utf-8''%ff%fe; name=\""),
    (b'filename="i.png"', b'filename="../../etc/passwd\0.png"'),
    (b'filename="i.png"', b""),
    (b'filename="i.png"', b'filename="i.png"\r\nContent-Transfer-Encoding: base64'),
    (b'filename="i.png"', b'filename="i.png"\r\nContent-Type: ' + b"x/" * 3_000),
    (b'name="image"', b'name="images"'),
    (b'name="image"', b'name="question"'),
    (b'name="mode"\r\n\r\nfast', b'name="mode"\r\n\r\n\xff\xfe'),
    (b'name="mode"\r\n\r\nfast', b'name="samples"\r\n\r\n' + b"9" * 6_000),
    (b'name="mode"\r\n\r\nfast', b'name="temperature"\r\n\r\nnan'),
    (b'name="mode"\r\n\r\nfast', b'name="stream"\r\n\r\nperhaps'),
    (b"--fuzz\r\n", b'--fuzz\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 1_100 + b"--fuzz\r\n"),
)


def spoil_framing(random: Random, path: str, body: bytes, request_id: str) -> Spoilt:
    """A body that is right in a request whose lines or lengths are not."""
    wire = build_request("POST", path, body, content_type="application/json", request_id=request_id)
    old, new = random.choice(
        (
            (b"Content-Length: ", b"Content-Length: 9"),
            (b"Content-Length: ", b"Content-Length: -"),
            (b"Content-Length: ", b"Content-Length: 1\r\nContent-Length: "),
            (b"Content-Length: ", b"Content-Length: 0\r\nX-Length: "),
            (b"Content-Length: ", b"Content-Length: " + b"9" * 30),
            (b"Content-Length: ", b"Content-Length: 0x"),
            (b"Content-Length: ", b"X-Length: "),
            (b"Content-Length: ", b"Transfer-Encoding: chunked\r\nX-Length: "),
            (b"Content-Length: ", b"Transfer-Encoding: gzip, chunked\r\nContent-Length: "),
            (b"application/json", b"application/json; charset=" + b"\xff" * 9),
            (b"application/json", b"a" * 20_000),
            (b"Content-Type: ", b"Content-Encoding: gzip\r\nContent-Type: "),
            (b"Content-Type: ", b"Expect: 100-continue\r\nContent-Type: "),
            (b"Content-Type: ", b"X-Request-Timeout-Seconds: 1e-320\r\nContent-Type: "),
            (b"Content-Type: ", b"X-Request-Timeout-Seconds: nan\r\nContent-Type: "),
            (b"X-Request-Id: ", b"X-Request-Id: \xc3\x28\x7f"),
            (b"X-Request-Id: ", b"X-Request-Id: " + b"i" * 5_000),
            (b"HTTP/1.1", b"HTTP/9.9"),
            (b"POST /", b"POST //%00/../%ff/"),
            (b"POST ", random.choice((b"PUT ", b"PATCH ", b"TRACE ", b"OPTIONS ", b"BREW ", b"P\0ST "))),
            (b"Host: service", b"Host: a\r\nHost: b"),
            (b"Host: service\r\n", b""),
        )
    )
    return Spoilt(kind="framing", wire=wire.replace(old, new, 1), is_framed=False)


def _pack_json(kind: str, path: str, body: dict[str, object], request_id: str) -> Spoilt:
    return _pack(kind, path, json.dumps(body).encode(), "application/json", request_id)


def _pack(kind: str, path: str, body: bytes, content_type: str, request_id: str) -> Spoilt:
    wire = build_request("POST", path, body, content_type=content_type, request_id=request_id)
    return Spoilt(kind=kind, wire=wire)
