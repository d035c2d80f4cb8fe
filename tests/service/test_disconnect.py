"""A client that hangs up: its judgement is dropped, over real sockets, with and without a stream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from service.connection import run_while_connected
from service.errors import ClientGoneError

if TYPE_CHECKING:
    from starlette.types import Message

    from tests.service.conftest import HangingEngine, MakeBody, Serve


def test_a_client_that_hangs_up_cancels_its_judgement(
    serve: Serve, hanging_engine: HangingEngine, make_body: MakeBody, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    with serve(hanging_engine) as live:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{live.url}/v1/judge", json=make_body(), timeout=httpx.Timeout(60, read=1))
        assert hanging_engine.asked.wait(60)
        assert hanging_engine.cancelled.wait(60)
        eventually(lambda: 'genrm_rejections_total{reason="client_closed_request"} 1.0' in read_metrics(live.url))
        assert "genrm_requests_running 0.0" in read_metrics(live.url)


def test_a_client_that_leaves_a_stream_cancels_its_judgement(
    serve: Serve, hanging_engine: HangingEngine, make_body: MakeBody, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    with serve(hanging_engine) as live:
        with httpx.stream("POST", f"{live.url}/v1/judge", json=make_body(stream=True), timeout=60) as response:
            lines = response.iter_lines()  # kept: letting it go would already close the connection
            assert next(lines) == "event: critique"
            assert not hanging_engine.cancelled.is_set()
        assert hanging_engine.cancelled.wait(60)
        eventually(lambda: 'genrm_rejections_total{reason="client_closed_request"} 1.0' in read_metrics(live.url))


def test_a_client_that_leaves_before_its_body_is_sent_is_no_failure_of_the_service(
    serve: Serve, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    with serve() as live:
        address = urlsplit(live.url)
        for content_type, start in ((b"application/json", b"{"), (b"multipart/form-data; boundary=x", b"--x")):
            with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
                head = b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Type: " + content_type
                connection.sendall(head + b"\r\nContent-Length: 5000\r\n\r\n" + start)
                eventually(lambda: live.app.state.admission.num_admitted == 1)
            eventually(lambda: live.app.state.admission.num_admitted == 0)
        eventually(lambda: 'genrm_rejections_total{reason="client_closed_request"} 2.0' in read_metrics(live.url))
        assert 'reason="internal_error"} 0.0' in read_metrics(live.url)


def read_metrics(url: str) -> str:
    return httpx.get(f"{url}/metrics", timeout=60).text


async def never() -> Message:
    """A client that stays."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_work_of_a_client_that_stays_gives_its_result() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await run_while_connected(never, work()) == 7


async def test_an_error_of_the_work_is_its_own() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_while_connected(never, work())


async def test_work_is_cancelled_and_awaited_when_the_client_leaves() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def leave() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGoneError):
        await run_while_connected(leave, work())
    assert ended == ["work"]


async def test_a_part_of_the_body_that_comes_late_is_no_disconnect() -> None:
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await never()

    async def work() -> str:
        await asyncio.sleep(0.05)
        return "done"

    assert await run_while_connected(receive, work()) == "done"


async def test_cancelling_the_request_cancels_its_work() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    request = asyncio.create_task(run_while_connected(never, work()))
    await started.wait()
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    assert cancelled.is_set()
