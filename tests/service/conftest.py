"""Real applications on the fake engine, in this process and on a loopback port, and pictures to send to them."""

import asyncio
import base64
import io
import logging
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image, ImageDraw

from experts.contract import Expert, StatementChecker
from experts.panel import ExpertPanel
from genrm.engines.contract import Completion, Engine, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from service.app import create_app
from service.connection import cancel_all
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.server import JudgeServer, format_url, open_port
from service.settings import Settings, load_settings

MakeImage = Callable[..., bytes]
MakeBody = Callable[..., dict[str, Any]]
OpenApp = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class RecordingEngine(FakeEngine):
    """The fake engine, remembering what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[Prompt] = []
        self.samplings: list[Sampling] = []

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the fake engine."""
        self.prompts += prompts
        self.samplings.append(sampling)
        return await super().complete(prompts, sampling, on_text=on_text)


@dataclass
class HangingEngine:
    """An engine that writes one word and then never ends; it notes when it is asked and when its work is cancelled."""

    asked: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    model: str = "hanging"
    has_logprobs: bool = True

    async def start(self) -> None:
        """Nothing to load."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Wait until cancelled."""
        del prompts, sampling
        self.asked.set()
        if on_text is not None:
            on_text(0, "Hm")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError

    async def close(self) -> None:
        """Note it."""
        self.closed.set()


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """A command that sets the log up for its process must not do so for the tests that follow."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("service", "genrm", "experts")}
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


@pytest.fixture
def make_image() -> MakeImage:
    """Builds the bytes of an image file: a coloured field with a disc, so that crops and turns show."""

    def make(
        file_format: str = "PNG",
        *,
        size: tuple[int, int] = (48, 36),
        mode: str = "RGB",
        colour: str = "teal",
        **save: object,
    ) -> bytes:
        picture = Image.new("RGB", size, colour)
        ImageDraw.Draw(picture).ellipse((0, 0, size[0] // 3, size[1] // 2), fill="orange")
        file = io.BytesIO()
        picture.convert(mode).save(file, file_format, **save)
        return file.getvalue()

    return make


def to_data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def make_body(make_image: MakeImage) -> MakeBody:
    """Builds a JSON request that is right; `image` bytes and other fields can be given, None leaves a field out."""

    def make(image: bytes | None = None, **fields: object) -> dict[str, Any]:
        body: dict[str, Any] = {
            "image": {"url": to_data_url(image or make_image())},
            "question": "How many discs are there?",
            "response_a": "There is one orange disc.",
            "response_b": "There are three green discs.",
            **fields,
        }
        return {name: value for name, value in body.items() if value is not None}

    return make


@pytest.fixture
def open_app() -> OpenApp:
    """Starts an application on an engine and gives an HTTP client that talks to it inside this process."""

    @asynccontextmanager
    async def open_(
        engine: Engine | None = None,
        *,
        wait: bool = True,
        experts: Sequence[Expert] = (),
        checkers: Sequence[StatementChecker] = (),
        **settings: object,
    ) -> AsyncIterator[httpx.AsyncClient]:
        panel = ExpertPanel(experts, checkers=checkers, timeout_seconds=20) if experts or checkers else None
        app = create_app(load_settings(**settings), lambda *_: engine or FakeEngine(), lambda *_: panel)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            if wait:
                await app.state.lifecycle.wait_until_loaded()
            yield client

    return open_


@pytest.fixture
async def client(open_app: OpenApp) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of an application with default settings on the fake engine."""
    async with open_app() as http:
        yield http


@dataclass(frozen=True)
class LiveServer:
    """An application that listens on a loopback port."""

    url: str
    app: FastAPI
    server: JudgeServer

    @property
    def lifecycle(self) -> Lifecycle:
        """The application's."""
        lifecycle: Lifecycle = self.app.state.lifecycle
        return lifecycle


Serve = Callable[..., AbstractContextManager[LiveServer]]


@contextmanager
def serve_live(
    engine: Engine | None = None,
    *,
    build: Callable[[Settings, Metrics], Engine] | None = None,
    build_experts: Callable[[Settings, Metrics], ExpertPanel | None] = lambda *_: None,
    port: int = 0,
    start_timeout_seconds: float = 120,
    **settings: object,
) -> Iterator[LiveServer]:
    chosen = load_settings(**{"shutdown_timeout_seconds": 5, **settings})
    app = create_app(chosen, build or (lambda *_: engine or FakeEngine()), build_experts)
    listener = open_port("127.0.0.1", port)
    ready = threading.Event()
    server = JudgeServer(app, chosen, on_ready=lambda _: ready.set())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert ready.wait(start_timeout_seconds), "the server did not become ready"
        yield LiveServer(format_url(listener), app, server)
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Starts an application on a real loopback port, in a thread with its own event loop."""
    return serve_live


@pytest.fixture
def live(serve: Serve) -> Iterator[LiveServer]:
    """A live server with default settings on the fake engine."""
    with serve() as server:
        yield server


@pytest.fixture
def hanging_engine() -> HangingEngine:
    """An engine that never answers."""
    return HangingEngine()


@pytest.fixture
def recording_engine() -> RecordingEngine:
    """A fake engine that remembers its prompts."""
    return RecordingEngine()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until a condition holds; fails if it never does."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.02)

    return wait


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | bytes


@dataclass
class Site:
    """Another's server on a loopback address, and what came to it. heads: of each request, up to its blank line."""

    port: int
    num_connections: int = 0
    heads: list[bytes] = field(default_factory=list)


OpenSite = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def open_site() -> OpenSite:
    """Starts a site: `answer` (bytes, or what writes them) by path, on a loopback address, with TLS if given any.

    first_bytes: sent before a request has come.
    """

    @asynccontextmanager
    async def open_(
        answers: dict[str, Answer] | Answer,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        first_bytes: bytes = b"",
    ) -> AsyncIterator[Site]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            site.num_connections += 1
            try:
                await answer_one(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client has gone, or the test is over
            finally:
                writer.close()

        async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            running.append(asyncio.current_task())
            writer.write(first_bytes)
            head = await reader.readuntil(b"\r\n\r\n")
            site.heads.append(head)
            answer = answers[head.split()[1].decode()] if isinstance(answers, dict) else answers
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(reader, writer)
            await writer.drain()

        site = Site(port=port)
        running: list[asyncio.Task[None] | None] = []
        server = await asyncio.start_server(serve, address, port, ssl=tls)
        site.port = server.sockets[0].getsockname()[1]
        try:
            yield site
        finally:
            server.close()
            await cancel_all(*(task for task in running if task is not None))

    return open_
