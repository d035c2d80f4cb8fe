"""Refuses request bodies over the limit, by their declared length before a byte is read and by counting while they
stream in; and those that stop coming, since whoever waits for one holds a place that others want.
"""

import asyncio
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_responses import build_error_response
from service.errors import RefusalError

_SILENCE_SECONDS = 30.0


class BodyLimit:
    """ASGI middleware, inside of `RequestLog`.

    max_body_bytes: the largest body that is read. others: of paths that take files for batches, their limit.
    silence_seconds: how long nothing of a body that is not whole may come.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        others: Mapping[str, int] | None = None,
        *,
        silence_seconds: float = _SILENCE_SECONDS,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._others = others or {}
        self._silence_seconds = silence_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body counted, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._others.get(scope["path"], self._max_body_bytes)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > max_bytes:
            refusal = self._refuse(f"is {int(declared):,} bytes long", scope["path"])
            await build_error_response(refusal, scope["state"]["record"])(scope, receive, send)
            return
        num_bytes, is_whole = 0, False

        async def receive_counted() -> Message:
            nonlocal num_bytes, is_whole
            message = await receive() if is_whole else await self._receive_soon(receive)
            is_whole = not message.get("more_body", False)
            num_bytes += len(message.get("body", b""))
            if num_bytes > max_bytes:
                raise self._refuse("is longer than allowed", scope["path"])
            return message

        await self._app(scope, receive_counted, send)

    async def _receive_soon(self, receive: Receive) -> Message:
        limit = asyncio.timeout(self._silence_seconds)
        try:
            async with limit:
                return await receive()
        except TimeoutError:
            if not limit.expired():  # somebody else's
                raise
            raise RefusalError(
                "deadline_exceeded",
                f"Nothing came for {self._silence_seconds:g} s of a request body that is not whole. Send it again.",
            ) from None

    def _refuse(self, given: str, path: str) -> RefusalError:
        max_bytes = self._others.get(path, self._max_body_bytes)
        remedy = (
            "Split the file, or raise GENRM_MAX_FILE_BYTES."
            if path in self._others
            else "Send smaller or fewer images, or raise GENRM_MAX_BODY_BYTES."
        )
        return RefusalError("body_too_large", f"The request body {given}; the limit is {max_bytes:,} bytes. {remedy}")
