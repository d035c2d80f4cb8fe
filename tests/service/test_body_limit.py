"""Bodies over the limit: refused by their declared length, and by counting when none is declared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from service.body_limit import BodyLimit
from service.errors import RefusalError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from tests.service.conftest import MakeBody, MakeImage, OpenApp, Serve

JSON = {"Content-Type": "application/json"}


async def pour(num_chunks: int) -> AsyncIterator[bytes]:
    """A body without a declared length, in chunks of 1 KiB."""
    for _ in range(num_chunks):
        yield b" " * 1024


async def test_a_body_that_declares_too_much_is_refused_with_the_limit(open_app: OpenApp) -> None:
    async with open_app(max_body_bytes=4096) as client:
        response = await client.post("/v1/judge", content=b" " * 5000, headers=JSON)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (413, "body_too_large")
    assert "5,000 bytes" in error["message"]
    assert "4,096" in error["message"]
    assert "GENRM_MAX_BODY_BYTES" in error["message"]
    assert response.headers["X-Request-Id"]


async def test_a_body_that_declares_nothing_is_counted(open_app: OpenApp) -> None:
    async with open_app(max_body_bytes=4096) as client:
        response = await client.post("/v1/judge", content=pour(5), headers=JSON)
        assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
        allowed = await client.post("/v1/judge", content=pour(4), headers=JSON)
        assert allowed.status_code == 422


async def test_an_endless_body_is_not_read_to_its_end(open_app: OpenApp) -> None:
    num_sent = 0

    async def pour_for_ever() -> AsyncIterator[bytes]:
        nonlocal num_sent
        while True:
            num_sent += 1
            yield b" " * 1024

    async with open_app(max_body_bytes=4096) as client:
        response = await client.post("/v1/judge", content=pour_for_ever(), headers=JSON)
    assert response.status_code == 413
    assert num_sent == 5


async def test_a_form_is_counted_too(open_app: OpenApp, make_image: MakeImage) -> None:
    texts = {"question": "How many?", "response_a": "One.", "response_b": "Two."}
    async with open_app(max_body_bytes=2048) as client:
        request = client.build_request("POST", "/v1/judge", data=texts, files={"image": make_image("BMP")})
        content = b"".join([chunk async for chunk in request.stream])  # type: ignore[union-attr] # a form has both kinds

        async def send_whole() -> AsyncIterator[bytes]:
            yield content

        headers = {"Content-Type": request.headers["Content-Type"]}
        response = await client.post("/v1/judge", content=send_whole(), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_body_within_the_limit_is_judged(open_app: OpenApp, make_body: MakeBody) -> None:
    async with open_app(max_body_bytes=100_000) as client:
        assert (await client.post("/v1/judge", json=make_body())).status_code == 200


async def test_too_large_bodies_are_counted_as_rejections(open_app: OpenApp) -> None:
    async with open_app(max_body_bytes=4096) as client:
        await client.post("/v1/judge", content=b" " * 5000, headers=JSON)
        await client.post("/v1/judge", content=pour(9), headers=JSON)
        assert 'genrm_rejections_total{reason="body_too_large"} 2.0' in (await client.get("/metrics")).text


def test_a_client_that_is_still_sending_gets_to_read_the_refusal(serve: Serve) -> None:
    """Over a real socket: a server that answered and closed at once would reset the connection under the client."""
    with serve(max_body_bytes=1_000_000) as live:
        response = httpx.post(f"{live.url}/v1/judge", content=b" " * 3_000_000, headers=JSON, timeout=60)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_body_that_stops_coming_is_not_waited_for_and_a_slow_one_is() -> None:
    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(await Request(scope, receive).body())(scope, receive, send)
        assert (await receive())["type"] == "http.disconnect"  # which may take as long as it likes

    def send_with_pauses(*pauses: float) -> Callable[[], Awaitable[Message]]:
        left = list(pauses)

        async def receive() -> Message:
            if not left:
                await asyncio.sleep(0.3)
                return {"type": "http.disconnect"}
            await asyncio.sleep(left.pop(0))
            return {"type": "http.request", "body": b"x", "more_body": bool(left)}

        return receive

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    limit = BodyLimit(read, 100, silence_seconds=0.2)
    scope = {"type": "http", "path": "/", "headers": [], "method": "POST"}
    await limit(scope, send_with_pauses(0.1, 0.1, 0.1), send)
    assert sent[-1]["body"] == b"xxx"
    with pytest.raises(RefusalError, match=r"Nothing came for 0\.2 s") as refusal:
        await limit(scope, send_with_pauses(0.0, 60.0), send)
    assert refusal.value.code == "deadline_exceeded"
