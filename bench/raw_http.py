"""HTTP/1.1 as bytes over asyncio, for load generators: cheap, and exact about how an exchange ended.

A client library decides for itself what to retry and hides when the first byte left; a measurement of refusals and of
lost requests needs both. Requests are ready-made bytes, also ones that no library would send. Not a client for
anything else: no TLS, no redirects, no decoding of contents.
"""

import asyncio
import select
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Failure = Literal["not_connected", "closed", "timed_out", "hung_up", "malformed"]
"""Why there is no whole answer: the port took no connection; the server closed or reset it; nothing came in time; we
hung up; what came was not HTTP."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How one exchange ended. sent, ended: `time.perf_counter()` at the first byte out and the last one in.

    status: None if no status line came. body: what came of it, chunks joined. failure: None if the answer is whole.
    is_reused: whether the connection had served an exchange before.
    """

    sent: float
    ended: float
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: Failure | None = None
    is_reused: bool = False

    @property
    def latency_ms(self) -> float:
        """From the first byte sent to the last received."""
        return (self.ended - self.sent) * 1000


class Connection(asyncio.Protocol):
    """One connection; at most one exchange at a time."""

    def __init__(self) -> None:
        self.num_exchanges = 0
        self.is_closed = False
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[Failure | None] | None = None
        self._ended = 0.0
        self._reader = AnswerReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read on, and finish the exchange when its answer is whole."""
        try:
            is_whole = self._reader.feed(data)
        except ValueError:
            self._finish("malformed")
        else:
            if is_whole:
                self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish what waits: whole if the answer's end is that of the connection."""
        del exc
        self.is_closed = True
        self._finish(None if self._reader.ends_with_connection else "closed")

    def _finish(self, failure: Failure | None) -> None:
        if self._done is not None and not self._done.done():
            self._ended = time.perf_counter()  # here, and not when the task that waits gets its turn
            self._done.set_result(failure)

    async def exchange(self, request: bytes, *, timeout_seconds: float, hang_up: bool = False) -> Answer:
        """Send a request and wait for its answer. hang_up: leave when the time is over, as a client who gives up."""
        assert self._transport is not None
        self._reader = AnswerReader()
        self._done = asyncio.get_running_loop().create_future()
        sent = time.perf_counter()
        self._transport.write(request)
        try:
            async with asyncio.timeout(timeout_seconds):
                failure = await self._done
        except TimeoutError:
            failure = "hung_up" if hang_up else "timed_out"
            self._ended = time.perf_counter()
        reader = self._reader
        answer = Answer(
            sent=sent,
            ended=self._ended,
            status=reader.status,
            headers=reader.headers,
            body=bytes(reader.body),
            failure=failure,
            is_reused=self.num_exchanges > 0,
        )
        self.num_exchanges += 1
        if failure is not None or reader.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent: neither closed nor about to be, as clients check by reading ahead."""
        if self.is_closed or self._transport is None:
            return False
        readable, _, _ = select.select([self._transport.get_extra_info("socket")], [], [], 0)
        return not readable

    def close(self) -> None:
        """Hang up."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()


class AnswerReader:
    """Puts one answer together from pieces."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self._pending = bytearray()
        self._is_whole = False

    @property
    def ends_with_connection(self) -> bool:
        """Whether the answer says neither its length nor that it comes in chunks."""
        return self.status is not None and not ({"content-length", "transfer-encoding"} & set(self.headers))

    def feed(self, data: bytes) -> bool:
        """Take the next piece; whether the answer is whole. Raises ValueError if it is not HTTP."""
        self._pending += data
        if self.status is None and not self._read_head():
            return False
        if "transfer-encoding" in self.headers:
            self._read_chunks()
        else:
            self.body += self._pending
            self._pending.clear()
            self._is_whole = len(self.body) >= int(self.headers.get("content-length", 1 << 62))
        return self._is_whole

    def _read_head(self) -> bool:
        end = self._pending.find(b"\r\n\r\n")
        if end < 0:
            return False
        status_line, *lines = self._pending[:end].decode("latin-1").split("\r\n")
        del self._pending[: end + 4]
        protocol, _, rest = status_line.partition(" ")
        if not protocol.startswith("HTTP/1."):
            raise ValueError(status_line)
        if rest[:3] == "100":  # go on sending; the answer follows
            return self._read_head()
        self.status = int(rest[:3])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        return True

    def _read_chunks(self) -> None:
        while (end := self._pending.find(b"\r\n")) >= 0:
            size = int(self._pending[:end].partition(b";")[0], 16)
            if len(self._pending) < end + 2 + size + 2:
                return
            self.body += self._pending[end + 2 : end + 2 + size]
            del self._pending[: end + 2 + size + 2]
            if size == 0:
                self._is_whole = True
                return


class ConnectionPool:
    """Connections to one port, kept open between exchanges and opened as needed: an open loop waits for none of them.

    host, port: where the service listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: deque[Connection] = deque()

    async def exchange(self, request: bytes, *, timeout_seconds: float = 120, hang_up: bool = False) -> Answer:
        """Send a request over an idle connection, or a new one, and wait for its answer. Raises nothing."""
        connection = self._take_idle()
        if connection is None:
            began = time.perf_counter()
            try:
                _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
            except OSError:
                return Answer(sent=began, ended=time.perf_counter(), failure="not_connected")
        answer = await connection.exchange(request, timeout_seconds=timeout_seconds, hang_up=hang_up)
        if not connection.is_closed:
            self._idle.append(connection)
        return answer

    def _take_idle(self) -> Connection | None:
        """The connection that was used last, which is the least likely to be closed soon."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def close(self) -> None:
        """Hang up all that is idle, and let the event loop do it."""
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)
