"""Around every request: its id, its one log line, its place in metrics and traces, and the last net for bugs.

The line holds what an operator needs to find a request again, and never image bytes or texts. It is written through
the standard `logging` module with the values as `extra`, so that any formatter can render them; `service.logs` is
ours.
"""

import asyncio
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_responses import build_error_response
from service.errors import RefusalError
from service.metrics import Metrics
from service.request_record import RequestRecord, choose_request_id
from service.tracing import Tracer

HEADER = "X-Request-Id"
_QUIET_ROUTES = frozenset({"/livez", "/readyz", "/health", "/metrics", "/playground"})

_STOPPED = RefusalError(
    "shutting_down",
    "This replica stopped before the answer was ready. Send the request to another one, or again in a second.",
    retry_after_seconds=1,
)

_logger = logging.getLogger(__name__)


class RequestLog:
    """ASGI middleware, outside of all that answers. tracer: takes requests that have ended, if there are traces."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(
            request_id=choose_request_id(Headers(scope=scope).get(HEADER)), started=time.perf_counter()
        )
        scope.setdefault("state", {})["record"] = record
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = record.request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if status is not None:  # half an answer is out; the server closes the connection
                raise
            await build_error_response(error, record)(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server's time to stop is over
            if status is None:
                await build_error_response(_STOPPED, record)(scope, receive, send_with_id)
            raise
        finally:
            self._finish(scope, record, status or 500)

    def _finish(self, scope: Scope, record: RequestRecord, status: int) -> None:
        seconds = time.perf_counter() - record.started
        route = record.route or str(getattr(scope.get("route"), "path", "unmatched"))
        self._metrics.observe_request(route, status, seconds)
        if record.error_code is not None:
            self._metrics.rejections.labels(record.error_code).inc()
        values = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            "request_id": record.request_id,
            "error": record.error_code,
            "trace_id": self._trace(scope, record, status) or None,
            **record.facts,
        }
        level = logging.DEBUG if route in _QUIET_ROUTES and status < 400 else logging.INFO
        _logger.log(level, "request", extra={name: value for name, value in values.items() if value is not None})

    def _trace(self, scope: Scope, record: RequestRecord, status: int) -> str:
        """The id of the request's trace; empty without one."""
        route = getattr(scope.get("route"), "path", None)
        if self._tracer is None or route in _QUIET_ROUTES or record.route in _QUIET_ROUTES:
            return ""
        try:
            return self._tracer.trace(
                record, method=scope["method"], route=route, status=status, headers=Headers(scope=scope)
            )
        except Exception:  # a request that has been answered well must not fail for its trace
            _logger.exception("The trace of request %s could not be made.", record.request_id)
            return ""
