"""A headless Chromium that visits the playground: how long until its page is usable, how long from the click to the
first text of a critique, and pages that are left open.

Times of loading are from the call to the visible *Judge* button, the browser's own work included; the browser has
started before. The time to the first text is the page's own clock, from the click to the first letter in the document.
In a headless browser every page believes that it is seen, so pages left open do all they ever do.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_WAIT_MS = 120_000
_REST_SECONDS = 2.0
"""Between two clicks, so that each finds an idle service."""
_WATCH_CRITIQUE = """() => {
  window.clicked = window.written = null;
  document.querySelector("#judge-run").addEventListener("click", () => { window.clicked = performance.now(); }, true);
  new MutationObserver(() => {
    const texts = [...document.querySelectorAll("#judge-critiques .vg-critique")];
    if (window.written === null && texts.some((each) => /\\w/.test(each.textContent))) {
      window.written = performance.now();
    }
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


@contextmanager
def open_profile() -> Iterator["BrowserContext"]:
    """A Chromium with a profile of its own that has never been anywhere; it is deleted afterwards.

    Ends the program with a message if there is no Chromium or no Playwright.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("Playwright is not installed. Install the extra: pip install 'vl-genrm[dev]'.")
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        sys.exit(f"There is no Chromium: {', '.join(_NAMES)} were looked for. Install one of them.")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with (
        tempfile.TemporaryDirectory(prefix="genrm-bench-", ignore_cleanup_errors=True) as folder,
        sync_playwright() as playwright,
    ):
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program, args=arguments, viewport={"width": 1280, "height": 900}
        )
        try:
            yield context
        finally:
            context.close()


def load_page(context: "BrowserContext", url: str) -> tuple["Page", float]:
    """A new page with the playground, and after how many seconds it was usable. url: of the service."""
    page = context.new_page()
    page.set_default_timeout(_WAIT_MS)
    started = time.perf_counter()
    page.goto(f"{url}/playground/", wait_until="commit")
    page.locator("#judge-run").wait_for()
    return page, time.perf_counter() - started


def measure_loads(url: str, times: int) -> tuple[list[float], list[float]]:
    """Seconds until the page is usable in new profiles, and again in each of them."""
    first, again = [], []
    for _ in range(times):
        with open_profile() as context:
            page, seconds = load_page(context, url)
            first.append(seconds)
            page.wait_for_load_state("networkidle")
            page.close()
            again.append(load_page(context, url)[1])
    return first, again


def measure_first_texts(url: str, times: int) -> list[float]:
    """Seconds from the click on *Judge* to the first text of a critique, of a page that has been open for a while."""
    found = []
    with open_profile() as context:
        for _ in range(times):
            page, _ = load_page(context, url)
            page.wait_for_load_state("networkidle")
            time.sleep(_REST_SECONDS)
            page.evaluate(_WATCH_CRITIQUE)
            page.locator("#judge-run").click()
            page.wait_for_function("window.written !== null")
            found.append(page.evaluate("(window.written - window.clicked) / 1000"))
            page.locator("#judge-verdict .vg-orders").wait_for()
            page.close()
    return found


@contextmanager
def open_tabs(url: str, num_tabs: int, settle_seconds: float) -> Iterator[None]:
    """So many pages in one browser, loaded and then left alone for a while, as long as the block runs."""
    with open_profile() as context:
        for _ in range(num_tabs):
            load_page(context, url)
        time.sleep(settle_seconds)
        yield


class CpuMeter:
    """CPU seconds of processes since they were found. choose: whether a process is one of them."""

    def __init__(self, choose: Callable[[psutil.Process], bool]) -> None:
        self._before = {
            process: _read_seconds(process) for process in psutil.Process().children(recursive=True) if choose(process)
        }

    def read(self) -> float:
        """CPU seconds of all of them until now; of one that has ended, none."""
        return sum(max(0.0, _read_seconds(process) - before) for process, before in self._before.items())


def is_browser(process: psutil.Process) -> bool:
    """Whether a process is part of a Chromium, or of what drives it."""
    try:
        return any(part in process.name() for part in ("chrom", "headless_shell", "node"))
    except psutil.NoSuchProcess:
        return False


def _read_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
