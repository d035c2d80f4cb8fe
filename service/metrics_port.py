"""`/metrics` on a port of its own, for those who open the service to callers and its metrics to Prometheus alone.

A second server on the same event loop, from the first moment to the last: it answers while the model loads and until
what runs at the end has finished. It serves nothing else, asks for no key and writes no log line. Signals are
`service.server`'s business.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.metrics import Metrics

_SHUTDOWN_TIMEOUT_SECONDS = 1
"""For a scrape that is being answered."""


class MetricsServer(uvicorn.Server):
    """Serves one application's series until `stop`. listener: a socket that listens, which is closed at the end."""

    def __init__(self, metrics: Metrics, listener: socket.socket) -> None:
        async def read_metrics(request: Request) -> Response:
            del request
            return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

        super().__init__(
            uvicorn.Config(
                Starlette(routes=[Route("/metrics", read_metrics)]),
                access_log=False,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_SECONDS,
                server_header=False,
                proxy_headers=False,
            )
        )
        self._listener = listener
        self._serving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield

    def start(self) -> None:
        """Begin to answer, on the running event loop."""
        self._serving = asyncio.ensure_future(self.serve([self._listener]))

    async def stop(self) -> None:
        """Stop answering."""
        self.should_exit = True
        if self._serving is not None:
            await self._serving
