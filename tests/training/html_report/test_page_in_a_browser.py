"""The page as a reader meets it: a real Chromium, light and dark, wide and narrow, from a file.

Screenshots are left in `build/screenshots`, for people to look at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from genrm.plots import draw_bars
from genrm.types import Detection, Evidence, EvidencePair, Probabilities, Reading
from training.evaluation.report import Report
from training.html_report.cases import Case, Group, Listing, Said, Tone
from training.html_report.evaluated import leave_report_page
from training.sources import Skipped
from training.statistics import share_with_interval

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
HOSTILE = '</p><script>document.title = "hacked"</script><img src="http://127.0.0.1:9/x.png" onerror="alert(1)">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one of everything that a page can show."""
    folder = tmp_path_factory.mktemp("page")
    box = Detection(phrase="dog", score=0.9, box=(1, 2, 3, 4), expert="dino", model="x")
    claim = Evidence(
        phrase="dog", mention="dog", polarity="affirmed", count=2, finding="contradicted", probability=0.1,
        detections=(box,),
    )  # fmt: skip
    readings = tuple(
        Reading(
            first=first, critique=f"I see one dog. {HOSTILE}", probabilities=Probabilities(A=0.2, B=0.8),
            label_mass=0.99, finish_reason="stop", completion_tokens=9,
        )
        for first in ("A", "B")
    )  # fmt: skip
    cases = [
        Case(
            id=f"row-{number}-with-a-rather-long-name-that-has-no-space-" + "x" * 60,
            outcome="Prefers B, but A is labelled better",
            question=f"How many dogs are there? {HOSTILE}",
            said=(
                Said(name="Response A", text=HOSTILE, marks=("labelled better",)),
                Said(name="Response B", text="two " * 200, marks=("preferred",)),
            ),
            load_images=lambda: (Image.effect_noise((300, 200), 60), Image.new("RGB", (40, 400), "teal")),
            facts={"Group": "general", "Margin P(A) − P(B)": "−0.600"},
            probabilities=Probabilities(A=0.2, B=0.8),
            readings=readings,
            evidence=EvidencePair(A=(claim,)),
            notes=("The experts support the other response clearly better.",),
            listing=Listing(caption="All candidates", heads=("Candidate", "Text"), rows=(("1", "a dog " * 40),)),
        )
        for number in range(6)
    ]
    tones: tuple[tuple[str, Tone], ...] = (("Wrong", "bad"), ("Undecided", "open"), ("Right", "good"))
    groups = [
        Group(title=title, tone=tone, num=99, cases=cases[2 * i : 2 * i + 2], note="in order")
        for i, (title, tone) in enumerate(tones)
    ]
    shares = {f"kind {number}": share_with_interval(number, 9) for number in range(10)}
    report = Report(
        title="Everything",
        settings={"source": "rows.jsonl", "judge": {"model": "judge"}, "long": "x" * 300},
        sections={"accuracy": shares, "differences": {"b - a": {"value": -0.1, "low": -0.2, "high": 0.0, "num": 9}}},
        counts={"judged": 99},
        skipped=[Skipped(id="row", reason="it has no image.")],
    )
    draw_bars({name: {"a": share} for name, share in shares.items()}, folder / "accuracy.png", ylabel="y", title="x")
    path = leave_report_page(report, folder, lambda: groups)
    assert path is not None
    return path


def open_file(browser: Browser, path: Path, requests: list[str], *, scheme: str = "light", width: int = 1280) -> Page:
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type] # light or dark
        viewport={"width": width, "height": 900},
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: requests.append(message.text))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hinders_people_with_disabilities_and_nothing_is_fetched(
    browser: Browser, page_file: Path, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    requests: list[str] = []
    page = open_file(browser, page_file, requests, scheme=scheme)
    assert {request for request in requests if not request.startswith("data:")} == {page_file.as_uri()}
    assert page.title() == "Everything – VL-GenRM"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report-{scheme}.png", full_page=True)
    page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true })")
    found = {
        (finding["id"], node["html"][:160]): finding["help"]
        for finding in axe.run(page).response["violations"]
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    }
    page.context.close()
    assert found == {}


@pytest.mark.parametrize(("name", "width"), [("zoom-200", 640), ("phone", 360)])
def test_little_room_needs_no_sideways_scrolling(browser: Browser, page_file: Path, name: str, width: int) -> None:
    page = open_file(browser, page_file, [], width=width)
    page.screenshot(path=SCREENSHOTS / f"report-{name}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.context.close()


def test_examples_are_browsed_with_the_keyboard_alone(browser: Browser, page_file: Path) -> None:
    page = open_file(browser, page_file, [])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.locator(".index a").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#example-2")
    page.locator("#example-2 .steps a").nth(1).focus()
    page.keyboard.press("Enter")
    assert 0 <= page.evaluate("document.querySelector('#example-3').getBoundingClientRect().top") < 300
    page.context.close()


def test_print_shows_what_is_folded_and_leaves_navigation_out(browser: Browser, page_file: Path) -> None:
    page = open_file(browser, page_file, [])
    page.emulate_media(media="print")
    assert page.locator(".listing").first.evaluate("element => element.checkVisibility()")
    assert not page.locator(".contents").is_visible()
    page.context.close()
