"""A real browser, servers with a playground for it to visit, and where its screenshots go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from genrm.engines.fake import FakeEngine
from service.engine_choice import build_engine
from service.expert_choice import load_panel

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.service.conftest import LiveServer, Serve

_NAMES = ("chromium", "chromium-browser", "google-chrome")
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
WAIT_MS = 30_000
"""For what a busy machine may take long over."""


@dataclass
class Visit:
    """An open page, and which hosts it asked for anything."""

    page: Page
    url: str
    hosts: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def take_screenshot(self, name: str) -> None:
        """Keep what the page looks like, for people."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def read(self, selector: str) -> str:
        """The text that a visitor sees in an element."""
        return self.page.locator(selector).inner_text()

    def wait_for_text(self, selector: str, text: str) -> None:
        """Wait until an element shows a text."""
        self.page.locator(selector).filter(has_text=text).first.wait_for(timeout=WAIT_MS)


OpenPage = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a playground in a browser of its own memory. options: of Playwright's `new_context`."""
    contexts = []

    def open_(server: LiveServer | str, *, wait: bool = True, **options: object) -> Visit:
        url = server if isinstance(server, str) else server.url
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        visit = Visit(page, url)
        page.on("request", lambda request: visit.hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: visit.errors.append(str(error)))
        page.goto(f"{url}/playground/")
        if wait:
            page.locator("#judge-run").wait_for()
        return visit

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def fake_engine() -> FakeEngine:
    """The engine of `fake_server`, whose behaviour tests may change; they put it back."""
    return FakeEngine()


@pytest.fixture(scope="module")
def fake_server(serve: Serve, fake_engine: FakeEngine) -> Iterator[LiveServer]:
    """A service with a playground on the fake engine."""
    pytest.importorskip("gradio", reason="the extra 'ui' is not installed")
    with serve(fake_engine, playground="on", start_timeout_seconds=300) as server:
        yield server


@pytest.fixture(scope="module")
def shipped_server(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A service with a playground on the judge and the expert that ship, with a database."""
    pytest.importorskip("gradio", reason="the extra 'ui' is not installed")
    database = tmp_path_factory.mktemp("playground") / "genrm.db"
    with serve(
        build=build_engine,
        build_experts=load_panel,
        playground="on",
        database_url=f"sqlite:///{database}",
        start_timeout_seconds=300,
    ) as server:
        yield server
