"""The pictures of the README: the playground after a judgement, and the card of another verdict.

A service with the shipped judge and expert judges two of the comparisons that ship. The page is seen by the system's
Chromium, 1280 pixels wide; the card is what `vl-genrm judge --card` writes, made narrower. Both are saved with 256
colours, which is enough for them and keeps the repository small; a file over its limit is an error.

Run: `python -m bench.readme_pictures`, about a minute; it needs what `make setup` installs, and Chromium.
"""

import argparse
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from bench.running_service import run_service, say
from service.card.drawing import write_card
from service.card.images import read_images
from service.client import Client
from service.samples import SHOWN_FIRST, load_shipped_samples

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
CARD_SAMPLE = "pocket-held-out-1-9"
"""One with several claims that both responses share, and one that is wrong."""
_PAGE_WIDTH, _CARD_WIDTH = 1280, 1200
_MAX_PAGE_BYTES, _MAX_CARD_BYTES = 300_000, 200_000
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_WAIT_MS = 60_000


def take_page(url: str) -> Image.Image:
    """The playground once the sample that it shows first is judged."""
    from playwright.sync_api import sync_playwright

    program = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        raise SystemExit(f"No browser was found; one of {', '.join(_BROWSERS)} must be installed.")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        page = chromium.new_page(viewport={"width": _PAGE_WIDTH, "height": 900}, color_scheme="light")
        page.set_default_timeout(_WAIT_MS)
        page.goto(f"{url}/playground/")
        page.locator("#judge-run").click()
        page.locator("#judge-verdict .vg-orders").wait_for()
        page.locator("#judge-evidence .vg-box").first.wait_for()
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)  # until Gradio's transitions are over
        picture = page.screenshot(full_page=True)
        chromium.close()
    return Image.open(io.BytesIO(picture)).convert("RGB")


def make_card(url: str, name: str) -> Image.Image:
    """The card of a shipped sample. name: its id."""
    sample = next(each for each in load_shipped_samples() if each.id == name)
    question, a, b = sample.question, sample.response_a, sample.response_b
    with Client(url) as client, tempfile.TemporaryDirectory() as folder:
        verdict = client.judge(sample.image, question=question, a=a, b=b)
        path = Path(folder) / "card.png"
        write_card(verdict, read_images([sample.image]), path, question=question, a=a, b=b)
        with Image.open(path) as card:
            height = round(_CARD_WIDTH * card.height / card.width)
            return card.convert("RGB").resize((_CARD_WIDTH, height), Image.Resampling.LANCZOS)


def save_small(picture: Image.Image, path: Path, max_bytes: int) -> None:
    """Write a PNG file of 256 colours. Raises SystemExit if it is larger than wanted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    say(f"{path}: {picture.width}x{picture.height} pixels, {size:,} bytes")
    if size > max_bytes:
        raise SystemExit(f"{path} has {size:,} bytes; the limit is {max_bytes:,}. Choose a plainer sample.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Take both pictures; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the pictures")
    parser.add_argument("--sample", default=CARD_SAMPLE, help="id of the comparison on the card")
    options = parser.parse_args(arguments)
    with run_service({"GENRM_PLAYGROUND": "on"}) as service:
        save_small(make_card(service.server.url, options.sample), options.out / "verdict-card.png", _MAX_CARD_BYTES)
        make_card(service.server.url, SHOWN_FIRST)  # a judge is slower the first time
        save_small(take_page(service.server.url), options.out / "playground.png", _MAX_PAGE_BYTES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
