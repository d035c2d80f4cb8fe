"""What the service refuses or fails at, and the one table that turns each kind into an HTTP status.

Everything that is answered with an error goes through `describe_failure`: refusals of the service, the errors of
`genrm`, the web framework's own, and bugs. The text of an exception nobody foresaw never leaves the process. The shape
on the wire is OpenAI's, `{"error": {"type", "message", "param", "code"}}`; `code` is the kind below and is what
programs should look at.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from starlette.requests import ClientDisconnect

from genrm.errors import (
    EngineClosedError,
    EngineError,
    GenRMError,
    ImageTooLargeError,
    InputTooLongError,
    InvalidComparisonError,
    InvalidImageError,
)

Code = Literal[
    "adapter_refused",
    "batch_ended",
    "body_too_large",
    "client_closed_request",
    "deadline_exceeded",
    "engine_failed",
    "file_in_use",
    "file_too_large",
    "idempotency_key_in_use",
    "idempotency_key_reused",
    "image_too_large",
    "internal_error",
    "invalid_api_key",
    "invalid_image",
    "invalid_json",
    "invalid_multipart",
    "invalid_value",
    "method_not_allowed",
    "missing_api_key",
    "missing_field",
    "model_not_found",
    "no_adapter_folder",
    "no_database",
    "no_experts",
    "no_room",
    "not_found",
    "not_ready",
    "overloaded",
    "rate_limited",
    "remote_image_failed",
    "remote_image_refused",
    "shutting_down",
    "storage_failed",
    "text_too_long",
    "too_many_images",
    "too_many_requests_at_once",
    "unknown_field",
    "unsupported_media_type",
]

HTTP_STATUS: dict[Code, int] = {
    "invalid_api_key": 401,
    "missing_api_key": 401,
    "not_found": 404,
    "model_not_found": 404,
    "no_adapter_folder": 404,
    "no_database": 404,
    "no_experts": 404,
    "method_not_allowed": 405,
    "batch_ended": 409,
    "file_in_use": 409,
    "idempotency_key_in_use": 409,
    "body_too_large": 413,
    "file_too_large": 413,
    "image_too_large": 413,
    "text_too_long": 413,
    "too_many_images": 413,
    "invalid_image": 415,
    "unsupported_media_type": 415,
    "adapter_refused": 422,
    "idempotency_key_reused": 422,
    "invalid_json": 422,
    "invalid_multipart": 422,
    "invalid_value": 422,
    "missing_field": 422,
    "remote_image_failed": 422,
    "remote_image_refused": 422,
    "unknown_field": 422,
    "rate_limited": 429,
    "too_many_requests_at_once": 429,
    "client_closed_request": 499,  # nobody reads it; it is what logs and metrics show
    "internal_error": 500,
    "engine_failed": 503,
    "no_room": 503,
    "not_ready": 503,
    "overloaded": 503,
    "shutting_down": 503,
    "storage_failed": 503,
    "deadline_exceeded": 504,
}
assert set(HTTP_STATUS) == set(get_args(Code))

MEANING: dict[int, str] = {
    401: "The service wants an API key, and none came or it is not one that counts.",
    404: "Nothing lies at this URL, no model, file or batch has that name, or the service has no vision experts, no "
    "database, or loads no adapters on request.",
    405: "The URL exists and does not take this method.",
    409: "It clashes with what is going on: a running request with the same key, a batch that reads the file or has "
    "ended.",
    413: "The body, a file, an image or a text is over its limit.",
    415: "The body is neither JSON nor a form, or an image is not a PNG, JPEG, WebP or GIF that can be read.",
    422: "The request is malformed, or an image that it names by URL, or an adapter, cannot be had; `param` names the "
    "field.",
    429: "This key has used up what it may ask for, per minute or at once; `Retry-After` says when to ask again.",
    500: "A bug in the service. Its log has the details under the request id.",
    503: "The model is loading, the service is stopping or has too much to do, or the engine or the database failed; "
    "`Retry-After` says when to ask again.",
    504: "The request's time was over before its answer was ready, or nothing of its body came for half a minute.",
}
"""What each status that a client can see means, for the documentation."""

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    405: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    503: "unavailable_error",
    504: "timeout_error",
}
"""Statuses with a coarse type of their own."""


class StartError(GenRMError, RuntimeError):
    """The service cannot start as configured (port in use, setting out of range). Correct it; a retry will not help."""


class StorageError(GenRMError, RuntimeError):
    """The database cannot be reached or has no room. Ask again; the operator's log has the reason."""


class RefusalError(GenRMError):
    """A request is answered with an error of a known kind.

    code: the kind. param: the field at fault, as the caller names it. retry_after_seconds: when it makes sense to ask
    again.
    """

    def __init__(
        self, code: Code, message: str, *, param: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.param = param
        self.retry_after_seconds = retry_after_seconds


class ClientGoneError(GenRMError):
    """The caller hung up before its answer was there. There is nobody to tell; the work was dropped."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as the caller will see it."""

    code: Code
    message: str
    param: str | None = None
    retry_after_seconds: int | None = None
    foreseen: bool = True
    """False: a bug or a broken engine, whose details belong in the log."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return HTTP_STATUS[self.code]

    @property
    def type(self) -> str:
        """The coarse class of error, as OpenAI's clients know it."""
        if self.status in _TYPES:
            return _TYPES[self.status]
        return "invalid_request_error" if self.status < 500 else "internal_error"


def describe_failure(error: BaseException) -> Failure:
    """How `error` is answered. Order matters: the most special kind first."""
    match error:
        case RefusalError():
            return Failure(
                code=error.code, message=str(error), param=error.param, retry_after_seconds=error.retry_after_seconds
            )
        case ClientGoneError() | ClientDisconnect():  # the latter: while its body was still coming
            return Failure(code="client_closed_request", message="The client closed the connection.")
        case ImageTooLargeError():
            return Failure(code="image_too_large", message=str(error), param=error.param)
        case InvalidImageError():
            return Failure(code="invalid_image", message=str(error), param=error.param)
        case InputTooLongError():
            return Failure(code="text_too_long", message=str(error), param=error.param)
        case InvalidComparisonError():
            return Failure(code="invalid_value", message=str(error), param=error.param)
        case EngineClosedError():
            return Failure(
                code="shutting_down",
                message=(
                    "This replica is stopping and judges nothing more. Send the request to another one, or again later."
                ),
                retry_after_seconds=1,
            )
        case EngineError():
            return Failure(
                code="engine_failed",
                message="The model failed on this request, which is well formed. Send it again; if that fails too, the "
                "service's log has the reason under this request id.",
                retry_after_seconds=1,
                foreseen=False,
            )
        case StorageError():
            return Failure(
                code="storage_failed",
                message="The service's database did not take part. Nothing half-done is left; send the request again. "
                "The service's log has the reason under this request id.",
                retry_after_seconds=2,
                foreseen=False,
            )
        case _:
            return Failure(
                code="internal_error",
                message="The service failed on this request. Its log has the reason under this request id.",
                foreseen=False,
            )
