"""Traces as an option: one span per request and one per stage of it, sent to an OpenTelemetry collector.

Spans are made when a request has ended, from what was noted of it (`service.request_record`), so nothing is traced
while it runs and nothing else in the service knows of OpenTelemetry. Its SDK is imported by `service.spans` alone, and
that only where `GENRM_TRACES_URL` is set. (The web framework itself imports OpenTelemetry's interface, not its SDK.)
"""

from typing import Protocol

from starlette.datastructures import Headers

from service.errors import StartError
from service.request_record import RequestRecord
from service.settings import Settings


class Tracer(Protocol):
    """Takes requests that have ended. Never waits for the collector."""

    def trace(self, record: RequestRecord, *, method: str, route: str | None, status: int, headers: Headers) -> str:
        """The id of the trace that a request is part of, 32 hexadecimal digits; empty if tracing is disabled.

        route: the route's pattern; None if the URL led to none. headers: the request's, for its `traceparent`.
        """

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""


def build_tracer(settings: Settings) -> Tracer | None:
    """What the settings ask for; None where they ask for no traces.

    Raises StartError if OpenTelemetry is not installed, or if its environment variables make no sense to it.
    """
    if settings.traces_url is None:
        return None
    try:
        from service.spans import SpanTracer
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise StartError(
            f"GENRM_TRACES_URL is set, and OpenTelemetry is not installed ({error.name} is missing). Install it with "
            "`pip install 'vl-genrm[otel]'`, or leave the variable out."
        ) from None
    try:
        return SpanTracer(settings.traces_url)
    except ValueError as error:
        raise StartError(
            f"OpenTelemetry does not accept its environment variables (OTEL_…): {error}. Correct them."
        ) from None
