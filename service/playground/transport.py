"""Requests to an application inside this process, with answers that stream.

`httpx.ASGITransport` hands an answer over when it is complete; a critique would then appear at once, at its end.
"""

import asyncio
from collections.abc import AsyncIterator

import httpx
from starlette.types import ASGIApp, Message

from service.connection import cancel_all

_LEAVE_SECONDS = 1.0
"""How long an application gets to notice by itself that nobody reads its answer."""


class InProcessTransport(httpx.AsyncBaseTransport):
    """Passes requests to `app` in the running event loop. Closing an answer early looks to it like a client that left.

    app: the whole application, middleware included, so that keys, quotas and limits hold.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Run the application until its status line is there. Raises httpx.ReadError if it fails before that."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        exchange = _Exchange(request.stream)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": ("playground", 0),
            "root_path": "",
        }
        running = asyncio.ensure_future(self._app(scope, exchange.receive, exchange.send))
        running.add_done_callback(lambda _: exchange.end())
        try:
            start = await exchange.sent.get()
        except asyncio.CancelledError:
            await cancel_all(running)
            raise
        if start is None:
            await cancel_all(running)
            raise httpx.ReadError("The application ended without an answer.", request=request)
        return httpx.Response(
            start["status"], headers=start["headers"], stream=_Body(exchange, running), request=request
        )


class _Exchange:
    """One request as the application sees it, and what it sends."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._chunks: AsyncIterator[bytes] | None = body.__aiter__()
        self.left = asyncio.Event()
        self.sent: asyncio.Queue[Message | None] = asyncio.Queue()

    async def receive(self) -> Message:
        """The next piece of the body, and when it is over, that the client left; as late as it does."""
        if self._chunks is not None:
            try:
                return {"type": "http.request", "body": await anext(self._chunks), "more_body": True}
            except StopAsyncIteration:
                self._chunks = None
                return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Hand a message over."""
        self.sent.put_nowait(message)

    def end(self) -> None:
        """Nothing more will come."""
        self.sent.put_nowait(None)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as the application sends it."""

    def __init__(self, exchange: _Exchange, running: "asyncio.Future[None]") -> None:
        self._exchange = exchange
        self._running = running

    async def __aiter__(self) -> AsyncIterator[bytes]:
        is_complete = False
        while not is_complete:
            message = await self._exchange.sent.get()
            if message is None:
                raise httpx.ReadError("The application ended in the middle of its answer.")
            is_complete = not message.get("more_body", False)
            if chunk := message.get("body", b""):
                yield chunk

    async def aclose(self) -> None:
        """Let the application know that nobody reads on, and wait until it has noticed."""
        self._exchange.left.set()
        await asyncio.wait({self._running}, timeout=_LEAVE_SECONDS)
        await cancel_all(self._running)
