"""What clients that keep their connections open are told when the service stops, over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from service.server import open_port

if TYPE_CHECKING:
    from tests.service.conftest import LiveServer, MakeBody, Serve

QUESTION = b"GET /readyz HTTP/1.1\r\nHost: service\r\n\r\n"


def connect(server: LiveServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def read_status(connection: socket.socket) -> int:
    """Status of the next answer, read to its end: what stays of one would be taken for the start of the next."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def is_port_open(server: LiveServer) -> bool:
    try:
        connect(server).close()
    except OSError:
        return False
    return True


def test_a_running_service_keeps_connections_open(live: LiveServer, make_body: MakeBody) -> None:
    answer = httpx.post(f"{live.url}/v1/judge", json=make_body())
    assert answer.status_code == 200
    assert "connection" not in answer.headers


def test_from_the_stop_on_every_answer_ends_its_connection(live: LiveServer, make_body: MakeBody) -> None:
    with httpx.Client(base_url=live.url) as client:
        assert "connection" not in client.get("/readyz").headers
        live.lifecycle.stop_accepting()
        answers = [client.get("/readyz"), client.get("/nothing"), client.post("/v1/judge", json=make_body())]
    assert [answer.status_code for answer in answers] == [503, 404, 503]
    assert [answer.headers["connection"] for answer in answers] == ["close"] * 3


def test_a_request_that_comes_over_an_open_connection_as_the_port_closes_is_answered(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.server._LAST_REQUESTS_SECONDS", 2)
    with serve() as server, connect(server) as connection:
        connection.sendall(QUESTION)
        assert read_status(connection) == 200
        server.server.should_exit = True
        while is_port_open(server):
            time.sleep(0.02)
        connection.sendall(QUESTION)
        assert read_status(connection) in {200, 503}


async def test_answers_are_sent_without_waiting_for_acknowledgements() -> None:
    with open_port("127.0.0.1", 0) as listener:
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            del reader
            is_set = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            accepted.set_result(bool(is_set))
            writer.close()

        server = await asyncio.start_server(note, sock=listener)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await accepted, "the second packet of an answer would wait up to 40 ms"
        writer.close()
        server.close()
