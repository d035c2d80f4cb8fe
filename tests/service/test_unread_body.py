"""Refusals before the body is read, over real sockets: a client that is still sending gets to read them."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from tests.service.conftest import HangingEngine, MakeBody, Serve

PAIRS = "alice:a-long-enough-key-1"
START = b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"


def connect(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname or "", where.port or 0), timeout=60)


def send_whole(url: str) -> tuple[int, str]:
    """Status and code of the answer to 8 MB, by a client that looks for no answer before it has sent them all, and that
    wants the connection closed after it, as many proxies do.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request("POST", "/v1/judge", b" " * 8_000_000, headers)
        answer = connection.getresponse()
        return answer.status, json.load(answer)["error"]["code"]
    finally:
        connection.close()


def test_a_stranger_with_a_large_body_gets_to_read_the_refusal(serve: Serve) -> None:
    with serve(api_keys=PAIRS) as live:
        assert send_whole(live.url) == (401, "missing_api_key")


def test_a_large_body_for_a_full_replica_gets_to_read_the_refusal(
    serve: Serve, hanging_engine: HangingEngine, make_body: MakeBody
) -> None:
    with serve(hanging_engine, max_queue=1, request_timeout_seconds=8) as live:
        body = {"json": make_body(), "timeout": 60}
        first = threading.Thread(target=httpx.post, args=(f"{live.url}/v1/judge",), kwargs=body)
        first.start()
        assert hanging_engine.asked.wait(60)
        answer = send_whole(live.url)
        first.join()
    assert answer == (503, "overloaded")


def test_a_body_that_never_comes_does_not_hold_the_refusal_back(serve: Serve) -> None:
    with serve(api_keys=PAIRS) as live, connect(live.url) as connection:
        connection.sendall(START + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")


def test_a_client_that_waits_to_be_asked_for_its_body_is_not_asked(serve: Serve) -> None:
    with serve(api_keys=PAIRS) as live, connect(live.url) as connection:
        connection.sendall(START + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")
