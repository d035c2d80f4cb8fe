"""Refusals before the body is read, over real sockets: a client that is still sending gets to read them."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from tests.service.conftest import HangingEngine, MakeBody, Serve

JSON = {"Content-Type": "application/json"}
LARGE = b" " * 8_000_000


def test_a_stranger_with_a_large_body_gets_to_read_the_refusal(serve: Serve) -> None:
    with serve(api_keys="alice:a-long-enough-key-1") as live:
        response = httpx.post(f"{live.url}/v1/judge", content=LARGE, headers=JSON, timeout=60)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "missing_api_key")


def test_a_large_body_for_a_full_replica_gets_to_read_the_refusal(
    serve: Serve, hanging_engine: HangingEngine, make_body: MakeBody
) -> None:
    with serve(hanging_engine, max_queue=1, request_timeout_seconds=20) as live:
        first = threading.Thread(
            target=httpx.post, args=(f"{live.url}/v1/judge",), kwargs={"json": make_body(), "timeout": 60}
        )
        first.start()
        assert hanging_engine.asked.wait(60)
        response = httpx.post(f"{live.url}/v1/judge", content=LARGE, headers=JSON, timeout=60)
        first.join()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")


def test_a_body_that_never_comes_does_not_hold_the_refusal_back(serve: Serve) -> None:
    with serve(api_keys="alice:a-long-enough-key-1") as live:
        where = urlsplit(live.url)
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=60) as connection:
            connection.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 401")


def test_a_client_that_waits_to_be_asked_for_its_body_is_not_asked(serve: Serve) -> None:
    with serve(api_keys="alice:a-long-enough-key-1") as live:
        where = urlsplit(live.url)
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=60) as connection:
            connection.sendall(
                b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 401")
