"""Failing, cancelling and closing end a call to a model server at once, and drop what is under way."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import httpx
import pytest
from PIL import Image

from genrm.engines.contract import Completion, Prompt, Sampling
from genrm.engines.openai_server import OpenAIEngine
from genrm.errors import EngineClosedError, EngineError

PROMPT = Prompt(system="", images=(Image.new("RGB", (8, 8), "plum"),), shared="what?\n", tail="a")
FAST = Prompt(
    system="", images=(Image.new("RGB", (8, 8), "plum"),), shared="what?\n", tail="a", answer_prefix="Verdict:"
)
Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def build_engine(handler: Handler) -> OpenAIEngine:
    return OpenAIEngine("http://model.test/v1", "m", transport=httpx.MockTransport(handler))


@asynccontextmanager
async def connect(handler: Handler) -> AsyncIterator[OpenAIEngine]:
    """A started engine, closed at the end."""
    engine = build_engine(handler)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def answer(_: httpx.Request) -> httpx.Response:
    """One label with its log-probability."""
    choice = {
        "message": {"content": " First"},
        "logprobs": {"content": [{"token": " First", "logprob": -0.1}]},
        "finish_reason": "stop",
    }
    return httpx.Response(200, json={"choices": [choice]})


class StallingServer:
    """Answers requests for one token, as the engine's start sends them, and leaves all others hanging."""

    def __init__(self) -> None:
        self.num_arrived = 0
        self.num_dropped = 0
        self.two_arrived = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["max_tokens"] == 1:
            return await answer(request)
        self.num_arrived += 1
        if self.num_arrived == 2:
            self.two_arrived.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.num_dropped += 1
            raise
        raise AssertionError("nobody waits an hour")


async def start_stalled_call(engine: OpenAIEngine, server: StallingServer) -> asyncio.Task[list[Completion]]:
    """A call of which both requests are under way."""
    call = asyncio.create_task(engine.complete([PROMPT, PROMPT], Sampling()))
    await server.two_arrived.wait()
    return call


async def test_one_failed_row_fails_the_call_and_drops_the_others() -> None:
    stalling = StallingServer()

    async def serve(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if body["max_tokens"] > 1 and body["messages"][-1]["role"] == "assistant":
            await stalling.two_arrived.wait()
            return httpx.Response(500)
        return await stalling(request)

    async with connect(serve) as engine:
        with pytest.raises(EngineError):
            await engine.complete([PROMPT, FAST, PROMPT], Sampling())
    assert stalling.num_dropped == 2


async def test_a_cancelled_call_drops_its_requests() -> None:
    server = StallingServer()
    async with connect(server) as engine:
        call = await start_stalled_call(engine, server)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert server.num_dropped == 2


async def test_closing_ends_what_is_under_way_as_closed_and_not_as_cancelled() -> None:
    server = StallingServer()
    async with connect(server) as engine:
        call = await start_stalled_call(engine, server)
        await engine.close()
        with pytest.raises(EngineClosedError):
            await call
        assert server.num_dropped == 2


async def test_closing_while_images_are_encoded_ends_the_call_as_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    encoding, closed = threading.Event(), threading.Event()

    def encode(_: Image.Image) -> str:
        encoding.set()
        closed.wait()
        return "data:"

    async with connect(answer) as engine:
        monkeypatch.setattr("genrm.engines.openai_server.encode_image", encode)
        call = asyncio.create_task(engine.complete([PROMPT], Sampling()))
        await asyncio.to_thread(encoding.wait)
        await engine.close()
        closed.set()
        with pytest.raises(EngineClosedError):
            await call


async def test_a_closed_engine_refuses_calls() -> None:
    async with connect(answer) as engine:
        await engine.close()
        with pytest.raises(EngineClosedError):
            await engine.complete([PROMPT], Sampling())


async def test_an_engine_that_was_not_started_says_so() -> None:
    with pytest.raises(EngineError, match=r"Call start\(\)"):
        await build_engine(answer).complete([PROMPT], Sampling())
