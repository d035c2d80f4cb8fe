"""How the page asks the service: through its HTTP API, inside this process, with the visitor's own key.

So what the page does is authenticated, limited, counted and logged as what anybody else does. Not about what is shown.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.types import ASGIApp

from service.client import AsyncClient
from service.exchange import ServiceError, build_headers, read_error
from service.playground.transport import InProcessTransport
from service.playground.visitor import Visit, read_visitor_key

URL = "http://playground"
MAX_TRIES = 6
MAX_PAUSE_SECONDS = 30
_LATER_STATUSES = frozenset({429, 503})


class Api:
    """Clients of the application's HTTP API on behalf of a visitor. app: with all its middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._transport = InProcessTransport(app)

    @asynccontextmanager
    async def open(self, visit: Visit) -> AsyncIterator[AsyncClient]:
        """A client for judgements and rankings, with the key that came with a request of the page."""
        async with AsyncClient(
            URL, api_key=read_visitor_key(visit), timeout_seconds=600, transport=self._transport
        ) as client:
            yield client

    @asynccontextmanager
    async def open_plain(self, visit: Visit) -> AsyncIterator[httpx.AsyncClient]:
        """The same for files and batches, for which there is no client of ours."""
        headers = build_headers(read_visitor_key(visit))
        async with httpx.AsyncClient(base_url=URL, headers=headers, timeout=600, transport=self._transport) as client:
            yield client


def require_success(response: httpx.Response) -> httpx.Response:
    """The answer, its body read. Raises ServiceError if it is an error."""
    if response.is_error:
        raise read_error(response)
    return response


def find_pause_seconds(error: ServiceError, num_tries: int) -> int | None:
    """How long to wait before the same is asked again; None where that would not help, or was done often enough.

    num_tries: how often it has been asked for.
    """
    if error.status not in _LATER_STATUSES or error.retry_after_seconds is None or num_tries >= MAX_TRIES:
        return None
    return min(MAX_PAUSE_SECONDS, max(1, error.retry_after_seconds))
