"""Gradio's files as a browser gets them: compressed once, kept for ever, and nothing else of the disk."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from starlette.datastructures import Headers

brotli = pytest.importorskip("brotli", reason="the extra 'ui' is not installed")

from service.playground.assets import FOR_EVER, Assets  # noqa: E402 - it needs what the extra brings

SCRIPT = b"export const one = 1;\n" * 100


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    """A folder with a script, a picture and a very short style sheet, beside a secret."""
    folder = tmp_path / "assets"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "secret.js").write_bytes(b"secret")
    (folder / "index-x.js").write_bytes(SCRIPT)
    (folder / "deep" / "picture.png").write_bytes(b"\x89PNG" + bytes(1000))
    (folder / "short.css").write_bytes(b"a{}")
    return Assets(folder, FOR_EVER)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        *(("gzip, deflate, br, zstd", "br"), ("gzip, deflate", "gzip"), ("br;q=0, gzip;q=0.5", "gzip")),
        *(("br;q=0.9", "br"), ("identity", None), ("", None)),
    ],
)
async def test_a_script_comes_in_the_best_form_that_the_browser_takes(
    assets: Assets, accepted: str, encoding: str | None
) -> None:
    for _ in range(2):  # read, and from memory
        answer = await assets.find("index-x.js", Headers({"accept-encoding": accepted}))
        assert answer.headers.get("content-encoding") == encoding
        unpack = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}[encoding]
        assert unpack(answer.body) == SCRIPT
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert answer.headers["vary"] == "Accept-Encoding"


async def test_what_compression_does_not_make_smaller_comes_as_it_is(assets: Assets) -> None:
    for name in ("deep/picture.png", "short.css"):
        answer = await assets.find(name, Headers({"accept-encoding": "br"}))
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
    assert (await assets.find("short.css", Headers())).headers["content-type"].startswith("text/css")


@pytest.mark.parametrize("name", ["../secret.js", "deep/../../secret.js", "/etc/passwd", "", "deep", "new.js", "a\0b"])
async def test_other_names_do_not_exist(assets: Assets, name: str) -> None:
    assert (await assets.find(name, Headers())).status_code == 404
