"""The Python client of the service, for threads and for asyncio.

from service.client import Client

with Client("http://127.0.0.1:8000") as client: verdict = client.judge("dogs.png", question="How many dogs?", a="Two.",
b="Three.") print(verdict.preferred, verdict.probabilities, verdict.critique)

Images are sent as files, so nothing grows by base64. Whatever the service refuses is raised as `ServiceError` with the
fields of its error body. Fields that a newer service adds to a verdict are ignored.
"""

from collections.abc import AsyncGenerator, Generator, Sequence
from types import TracebackType
from typing import Self, Unpack

import httpx

from service.exchange import (
    EventReader,
    Options,
    Picture,
    ServiceError,
    StreamEvent,
    build_form,
    check_url,
    read_error,
    read_models,
    read_verdict,
    translate_failures,
)
from service.schemas import CritiqueDelta, JudgeResponse, ModelCard

__all__ = ["AsyncClient", "Client", "CritiqueDelta", "JudgeResponse", "ModelCard", "Options", "ServiceError"]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 120.0
_LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=None
)  # how much runs at once is the caller's choice


class Client:
    """Asks a service from ordinary code. Close it, or use it in a `with` statement.

    url: where the service listens. timeout_seconds: for connecting, and for silence while waiting. transport: for
    tests.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._http = httpx.Client(base_url=check_url(url), timeout=timeout_seconds, limits=_LIMITS, transport=transport)

    def judge(
        self, image: Picture | Sequence[Picture], *, question: str, a: str, b: str, **options: Unpack[Options]
    ) -> JudgeResponse:
        """Which of the responses `a` and `b` to a question about one or more images is better.

        Raises ServiceError, and InvalidImageError if a file cannot be read.
        """
        request = self._http.build_request("POST", "/v1/judge", **build_form(image, question, a, b, options))
        with translate_failures(self.url):
            response = self._http.send(request)
        return read_verdict(response)

    def stream(
        self, image: Picture | Sequence[Picture], *, question: str, a: str, b: str, **options: Unpack[Options]
    ) -> Generator[StreamEvent, None, None]:
        """The critiques as they are written, and the verdict last. Raises as `judge` does; close it early to cancel."""
        request = self._http.build_request(
            "POST", "/v1/judge", **build_form(image, question, a, b, options, stream=True)
        )
        with translate_failures(self.url):
            response = self._http.send(request, stream=True)
            try:
                if response.is_error:
                    response.read()
                    raise read_error(response)
                events = EventReader(response)
                for line in response.iter_lines():
                    if (event := events.read(line)) is not None:
                        yield event
            finally:
                response.close()
        events.check_end()

    def models(self) -> list[ModelCard]:
        """The models that are served; empty while one is loading. Raises ServiceError."""
        with translate_failures(self.url):
            response = self._http.get("/v1/models")
        return read_models(response)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio. Cancelling a call closes its connection, and the service drops the work."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=check_url(url), timeout=timeout_seconds, limits=_LIMITS, transport=transport
        )

    async def judge(
        self, image: Picture | Sequence[Picture], *, question: str, a: str, b: str, **options: Unpack[Options]
    ) -> JudgeResponse:
        """As `Client.judge`."""
        request = self._http.build_request("POST", "/v1/judge", **build_form(image, question, a, b, options))
        with translate_failures(self.url):
            response = await self._http.send(request)
        return read_verdict(response)

    async def stream(
        self, image: Picture | Sequence[Picture], *, question: str, a: str, b: str, **options: Unpack[Options]
    ) -> AsyncGenerator[StreamEvent, None]:
        """As `Client.stream`."""
        request = self._http.build_request(
            "POST", "/v1/judge", **build_form(image, question, a, b, options, stream=True)
        )
        with translate_failures(self.url):
            response = await self._http.send(request, stream=True)
            try:
                if response.is_error:
                    await response.aread()
                    raise read_error(response)
                events = EventReader(response)
                async for line in response.aiter_lines():
                    if (event := events.read(line)) is not None:
                        yield event
            finally:
                await response.aclose()
        events.check_end()

    async def models(self) -> list[ModelCard]:
        """As `Client.models`."""
        with translate_failures(self.url):
            response = await self._http.get("/v1/models")
        return read_models(response)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
