"""Lets a client that is still sending get to read a refusal.

Much is refused before a body is read: for want of a key, for load, for a declared length. Where the connection ends
with the answer (`Connection: close`, as many proxies want it), a server that closes at once resets it under a client
that writes, and the client may never see why. So some of the body is read and thrown away first, within limits of size
and time.
"""

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MAX_SECONDS = 2.0


class UnreadBody:
    """ASGI middleware, outside of all that refuses. max_bytes: how much of a body is read at the most, in all."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; hold its answer back until its body is read, or enough of it."""
        if scope["type"] != "http" or not _will_come(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        num_bytes = 0
        is_read = False

        async def receive_noted() -> Message:
            nonlocal num_bytes, is_read
            message = await receive()
            num_bytes += len(message.get("body", b""))
            is_read = not message.get("more_body", False)
            return message

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_MAX_SECONDS):
                        while not is_read and num_bytes < self._max_bytes:
                            await receive_noted()
            await send(message)

        await self._app(scope, receive_noted, send_after_body)


def _will_come(headers: Headers) -> bool:
    """Whether the client sends a body without waiting to be asked for it (`Expect: 100-continue`)."""
    has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
    return has_body and "expect" not in headers
