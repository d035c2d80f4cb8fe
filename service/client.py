"""The Python client of the service, for threads and for asyncio.

    from service.client import Client

    with Client("http://127.0.0.1:8000") as client:
        verdict = client.judge("dogs.png", question="How many dogs?", a="Two.", b="Three.")
    print(verdict.preferred, verdict.probabilities, verdict.critique)

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
    RankOptions,
    ServiceError,
    StreamEvent,
    build_form,
    build_headers,
    build_ranking,
    build_verify_form,
    check_url,
    read_error,
    read_models,
    read_png,
    read_ranking,
    read_verdict,
    read_verification,
    translate_failures,
)
from service.rerank_schemas import RerankResponse
from service.schemas import CritiqueDelta, JudgeResponse, ModelCard, VerifyResponse

__all__ = [
    "AsyncClient",
    "Client",
    "CritiqueDelta",
    "JudgeResponse",
    "ModelCard",
    "Options",
    "RankOptions",
    "RerankResponse",
    "ServiceError",
    "VerifyResponse",
]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 120.0
_LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=None
)  # how much runs at once is the caller's choice


class Client:
    """Asks a service from ordinary code. Close it, or use it in a `with` statement.

    url: where the service listens. api_key: for a service that wants one. timeout_seconds: for connecting, and for
    silence while waiting. transport: for tests.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=check_url(url),
            headers=build_headers(api_key),
            timeout=timeout_seconds,
            limits=_LIMITS,
            transport=transport,
        )

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
                for chunk in response.iter_bytes():
                    yield from events.read(chunk)
            finally:
                response.close()
        events.check_end()

    def rerank(
        self,
        image: Picture | Sequence[Picture],
        *,
        question: str,
        candidates: Sequence[str],
        **options: Unpack[RankOptions],
    ) -> RerankResponse:
        """The candidates for a question about one or more images, best first. Raises as `judge` does."""
        request = build_ranking(image, question, candidates, options)
        with translate_failures(self.url):
            response = self._http.post("/v1/rerank", **request)
        return read_ranking(response)

    def verify(self, image: Picture | Sequence[Picture], text: str) -> VerifyResponse:
        """Which objects a text about one or more images claims, and what vision experts found of each.

        Raises ServiceError, also where no experts are loaded, and InvalidImageError if a file cannot be read.
        """
        with translate_failures(self.url):
            response = self._http.post("/v1/verify", **build_verify_form(image, text))
        return read_verification(response)

    def annotate(self, image: Picture, text: str) -> bytes:
        """The image as PNG with the claims of a text and the boxes found drawn on it. Raises as `verify` does."""
        with translate_failures(self.url):
            response = self._http.post("/v1/verify?annotated=png", **build_verify_form(image, text))
        return read_png(response)

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
        api_key: str | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=check_url(url),
            headers=build_headers(api_key),
            timeout=timeout_seconds,
            limits=_LIMITS,
            transport=transport,
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
                async for chunk in response.aiter_bytes():
                    for event in events.read(chunk):
                        yield event
            finally:
                await response.aclose()
        events.check_end()

    async def rerank(
        self,
        image: Picture | Sequence[Picture],
        *,
        question: str,
        candidates: Sequence[str],
        **options: Unpack[RankOptions],
    ) -> RerankResponse:
        """As `Client.rerank`."""
        request = build_ranking(image, question, candidates, options)
        with translate_failures(self.url):
            response = await self._http.post("/v1/rerank", **request)
        return read_ranking(response)

    async def verify(self, image: Picture | Sequence[Picture], text: str) -> VerifyResponse:
        """As `Client.verify`."""
        with translate_failures(self.url):
            response = await self._http.post("/v1/verify", **build_verify_form(image, text))
        return read_verification(response)

    async def annotate(self, image: Picture, text: str) -> bytes:
        """As `Client.annotate`."""
        with translate_failures(self.url):
            response = await self._http.post("/v1/verify?annotated=png", **build_verify_form(image, text))
        return read_png(response)

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
