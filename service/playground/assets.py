"""Gradio's scripts and styles, from memory: compressed once, and kept by the browser.

Gradio reads and compresses each file again for every visitor, and says nothing about caching, so a browser asks for all
eighty again when the page is loaded again. Their names hold a hash of their content, so they never change. Not about
which addresses exist (`service.playground.mount`).
"""

import asyncio
import gzip
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import brotli  # comes with Gradio
from starlette.datastructures import Headers
from starlette.responses import Response

FOR_EVER = "private, max-age=31536000, immutable"
FOR_AN_HOUR = "private, max-age=3600"
_TEXTS = frozenset({".js", ".css", ".json", ".svg", ".html", ".map"})
_ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda body: brotli.compress(body, quality=6),
    "gzip": lambda body: gzip.compress(body, 6, mtime=0),
}
"""By name, the preferred one first."""


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file as it is sent. encoding: of the body; None as it lies on disk."""

    body: bytes
    encoding: str | None


class Assets:
    """The files of a folder, read when they are first asked for. caching: the value of their `Cache-Control`."""

    def __init__(self, folder: Path, caching: str) -> None:
        self._folder = folder
        self._caching = caching
        self._names = frozenset(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )  # what is not in it does not exist, however it is spelt
        self._read: dict[tuple[str, str | None], _File] = {}

    async def find(self, name: str, headers: Headers) -> Response:
        """The answer to a request for a file, 404 if there is none. name: relative to the folder."""
        if name not in self._names:
            return Response(status_code=404)
        encoding = _choose_encoding(name, headers.get("accept-encoding", ""))
        file = self._read.get((name, encoding))
        if file is None:
            file = self._read[name, encoding] = await asyncio.to_thread(self._load, name, encoding)
        sent = {"Cache-Control": self._caching, "Vary": "Accept-Encoding"}
        if file.encoding is not None:
            sent["Content-Encoding"] = file.encoding
        return Response(file.body, media_type=_name_type(name), headers=sent)

    def _load(self, name: str, encoding: str | None) -> _File:
        body = (self._folder / name).read_bytes()
        if encoding is None:
            return _File(body=body, encoding=None)
        packed = _ENCODINGS[encoding](body)
        return _File(body=packed, encoding=encoding) if len(packed) < len(body) else _File(body=body, encoding=None)


def _choose_encoding(name: str, accepted: str) -> str | None:
    """The best encoding that the browser takes; None for what is no text. accepted: its `Accept-Encoding`."""
    if Path(name).suffix not in _TEXTS:
        return None
    offers = {
        offer.partition(";")[0].strip() for offer in accepted.split(",") if "q=0" not in offer.replace("q=0.", "")
    }
    return next((encoding for encoding in _ENCODINGS if encoding in offers), None)


def _name_type(name: str) -> str:
    if name.endswith(".js"):
        return "text/javascript"  # whatever the machine's own table says: browsers run nothing else as a module
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
