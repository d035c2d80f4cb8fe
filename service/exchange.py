"""The client's half of the wire, without a connection: requests as forms, answers as verdicts, errors and events.

Both clients of `service.client` stand on these functions, so that they cannot differ.
"""

import base64
import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import httpx
from PIL import Image
from pydantic import ValidationError

from genrm.errors import GenRMError, InvalidImageError
from genrm.evidence import ExpertUse
from genrm.ranking import StrategyChoice
from genrm.types import Mode
from service.rerank_schemas import RerankResponse
from service.schemas import CritiqueDelta, ErrorBody, JudgeResponse, ModelCard, ModelList, VerifyResponse

Picture = str | Path | bytes | Image.Image
"""A file's path, a file's bytes, or a decoded picture."""

StreamEvent = CritiqueDelta | JudgeResponse
"""A piece of critique, or the verdict that ends a stream."""

_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


class Options(TypedDict, total=False):
    """What a judgement can be asked for beside its texts and images; the service has the defaults."""

    mode: Mode
    samples: int
    temperature: float
    seed: int
    max_tokens: int
    experts: ExpertUse
    model: str
    id: str


class RankOptions(TypedDict, total=False):
    """What a ranking can be asked for beside its question, images and candidates; the service has the defaults."""

    strategy: StrategyChoice
    budget: int
    mode: Mode
    experts: ExpertUse
    top_n: int
    model: str
    id: str


class ServiceError(GenRMError, RuntimeError):
    """The service refused a request, failed, or could not be reached.

    `status` is the HTTP status, None when there was no whole answer. `type`, `code` and `param` are those of the error
    body; without one `code` is `connection_failed`, `timed_out` or `not_understood`. `retry_after_seconds` is when the
    service says to ask again. What may go well later: status 429, 503 and 504 and, without a status, the codes
    `connection_failed` and `timed_out` and, from inside a stream, `deadline_exceeded`, `engine_failed` and
    `shutting_down`. The rest will not.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str = "connection_error",  # noqa: A002 - the field's name on the wire
        code: str = "connection_failed",
        param: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.status = status
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds


def check_url(url: str) -> str:
    """`url` if it can be one of a service; otherwise ServiceError."""
    if not url.lower().startswith(("http://", "https://")):
        raise ServiceError(
            f"The service's URL is {url!r}; it must begin with http:// or https://, as http://127.0.0.1:8000."
        )
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        host = ""
    if not host:
        raise ServiceError(
            f"The service's URL is {url!r}, which names no host and port that can be reached. Give one such as "
            "http://127.0.0.1:8000."
        )
    return url


def build_headers(api_key: str | None) -> dict[str, str]:
    """Headers of every request. Raises ServiceError, without repeating the key, if it cannot stand in one."""
    if api_key is None:
        return {}
    api_key = api_key.strip()  # of a file's last line end, for instance
    if not (api_key.isascii() and api_key.isprintable() and api_key):
        raise ServiceError(
            "The API key is empty or has characters that a header cannot carry; printable ASCII is allowed. Pass it as "
            "it was given out.",
            type="authentication_error",
            code="invalid_api_key",
        )
    return {"Authorization": f"Bearer {api_key}"}


def build_form(
    image: Picture | Sequence[Picture], question: str, a: str, b: str, options: Options, *, stream: bool = False
) -> dict[str, Any]:
    """Arguments for an HTTP request that asks for a judgement as a multipart form.

    Raises InvalidImageError if there is no image or a file cannot be read.
    """
    fields = {"question": question, "response_a": a, "response_b": b, **options, "stream": str(stream).lower()}
    return _build_form(image, {name: str(value) for name, value in fields.items() if value is not None})


def build_verify_form(image: Picture | Sequence[Picture], text: str) -> dict[str, Any]:
    """Arguments for an HTTP request that asks for a verification. Raises as `build_form` does."""
    return _build_form(image, {"text": text})


def build_ranking(
    image: Picture | Sequence[Picture], question: str, candidates: Sequence[str], options: RankOptions
) -> dict[str, Any]:
    """Arguments for an HTTP request that asks for a ranking, as JSON. Raises InvalidImageError as `build_form` does."""
    pictures = [
        {"url": f"data:application/octet-stream;base64,{base64.b64encode(read_picture(one)).decode()}"}
        for one in _as_list(image)
    ]
    return {"json": {"query": question, "documents": list(candidates), "images": pictures, **options}}


def _as_list(image: Picture | Sequence[Picture]) -> list[Picture]:
    pictures = [image] if isinstance(image, Picture) else list(image)
    if not pictures:
        raise InvalidImageError(
            "No image is given; at least one is needed. Pass a path, bytes or a picture.", param="image"
        )
    return pictures


def _build_form(image: Picture | Sequence[Picture], data: dict[str, str]) -> dict[str, Any]:
    files = [("image", (f"image-{i}", read_picture(one))) for i, one in enumerate(_as_list(image))]
    return {"data": data, "files": files}


def read_picture(picture: Picture) -> bytes:
    """The bytes of an image file. Raises InvalidImageError if it cannot be read."""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Image.Image):
        file = io.BytesIO()
        (picture if picture.mode in _PNG_MODES else picture.convert("RGB")).save(file, "PNG", compress_level=1)
        return file.getvalue()
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise InvalidImageError(
            f"The image file {str(picture)!r} cannot be read: {error.strerror}. Name a PNG, JPEG, WebP or GIF file.",
            param="image",
        ) from None


def read_verdict(response: httpx.Response) -> JudgeResponse:
    """The verdict in an answer. Raises ServiceError if it is an error or nothing we know."""
    if response.is_error:
        raise read_error(response)
    with _understood(response):
        return JudgeResponse.model_validate_json(response.content, extra="ignore")


def read_ranking(response: httpx.Response) -> RerankResponse:
    """The ranking in an answer. Raises ServiceError if it is an error or nothing we know."""
    if response.is_error:
        raise read_error(response)
    with _understood(response):
        return RerankResponse.model_validate_json(response.content, extra="ignore")


def read_verification(response: httpx.Response) -> VerifyResponse:
    """The verification in an answer. Raises ServiceError if it is an error or nothing we know."""
    if response.is_error:
        raise read_error(response)
    with _understood(response):
        return VerifyResponse.model_validate_json(response.content, extra="ignore")


def read_png(response: httpx.Response) -> bytes:
    """The picture in an answer, PNG. Raises ServiceError if it is an error."""
    if response.is_error:
        raise read_error(response)
    return response.content


def read_models(response: httpx.Response) -> list[ModelCard]:
    """The models in an answer. Raises ServiceError if it is an error or nothing we know."""
    if response.is_error:
        raise read_error(response)
    with _understood(response):
        return list(ModelList.model_validate_json(response.content, extra="ignore").data)


def read_error(response: httpx.Response) -> ServiceError:
    """The error that an answer with an error status stands for; its body has been read."""
    try:
        detail = ErrorBody.model_validate_json(response.content, extra="ignore").error
    except ValidationError:
        return ServiceError(
            f"{response.request.url} answered {response.status_code} without an error body that this client knows. "
            "Check that the URL is a VL-GenRM service and that nothing in between answers in its place.",
            type="protocol_error",
            code="not_understood",
            status=response.status_code,
            request_id=response.headers.get("X-Request-Id"),
        )
    return ServiceError(
        detail.message,
        type=detail.type,
        code=detail.code,
        param=detail.param,
        status=response.status_code,
        request_id=response.headers.get("X-Request-Id"),
        retry_after_seconds=int(wait) if (wait := response.headers.get("Retry-After", "")).isdecimal() else None,
    )


@contextlib.contextmanager
def translate_failures(url: str) -> Iterator[None]:
    """Turn a broken or missing connection to `url` into ServiceError."""
    try:
        yield
    except httpx.TimeoutException:
        raise ServiceError(
            f"{url} did not answer in time. Ask again, raise the timeout, or look at the service's load.",
            code="timed_out",
        ) from None
    except httpx.TransportError:
        raise ServiceError(
            f"{url} cannot be reached, or closed the connection. Start a service with 'vl-genrm serve', or correct "
            "the URL."
        ) from None


class EventReader:
    """Reads one stream of server-sent events. response: the answer they come in.

    Lines end at a line feed only: `httpx` would end them at U+2028 and its like too, which stand unescaped in JSON.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._name = ""
        self._begun_line = b""
        self._ended = False

    def read(self, chunk: bytes) -> Iterator[StreamEvent]:
        """The events that `chunk` completes. Raises ServiceError for the event `error` and for nonsense."""
        *lines, self._begun_line = (self._begun_line + chunk).split(b"\n")
        for line in lines:
            if (event := self._read_line(line.removesuffix(b"\r").decode("utf-8", "replace"))) is not None:
                yield event

    def _read_line(self, line: str) -> StreamEvent | None:
        field, _, value = line.partition(": ")
        if field == "event":
            self._name = value
        if field != "data":
            return None
        with _understood(self._response):
            if self._name == "critique":
                return CritiqueDelta.model_validate_json(value, extra="ignore")
            if self._name == "verdict":
                self._ended = True
                return JudgeResponse.model_validate_json(value, extra="ignore")
            if self._name == "error":
                detail = ErrorBody.model_validate_json(value, extra="ignore").error
                raise ServiceError(
                    detail.message,
                    type=detail.type,
                    code=detail.code,
                    param=detail.param,
                    request_id=self._response.headers.get("X-Request-Id"),
                )
        return None  # an event of a newer service

    def check_end(self) -> None:
        """Raise ServiceError if the stream ended without a verdict."""
        if not self._ended:
            raise ServiceError(
                "The stream ended before its verdict. Ask again; the service may have stopped.",
                request_id=self._response.headers.get("X-Request-Id"),
            )


@contextlib.contextmanager
def _understood(response: httpx.Response) -> Iterator[None]:
    try:
        yield
    except (ValidationError, json.JSONDecodeError):
        raise ServiceError(
            f"{response.request.url} answered {response.status_code} with a body that this client does not know. "
            "Check that the URL is a VL-GenRM service of a version that fits this client.",
            type="protocol_error",
            code="not_understood",
            status=response.status_code,
            request_id=response.headers.get("X-Request-Id"),
        ) from None
