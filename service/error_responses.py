"""Answers with an error: the body's shape, its headers, and the hooks that make the web framework use it for
everything.
"""

import logging
from functools import cache
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from genrm.errors import GenRMError
from service.errors import Failure, RefusalError, describe_failure
from service.request_record import RequestRecord, get_record
from service.schemas import ErrorBody, ErrorDetail
from service.validation import refuse_invalid, shorten

_logger = logging.getLogger(__name__)
_compile_path = cache(compile_path)
"""Of the documented paths, which are few and stay."""


def build_error_response(error: BaseException, record: RequestRecord) -> Response:
    """The answer to a request that ended in `error`."""
    failure = note_failure(error, record)
    return Response(
        render_error(failure),
        status_code=failure.status,
        media_type="application/json",
        headers=list_failure_headers(failure),
    )


def list_failure_headers(failure: Failure) -> dict[str, str]:
    """The headers that go with a failure: when to ask again, and how to prove who asks."""
    headers = {} if failure.retry_after_seconds is None else {"Retry-After": str(failure.retry_after_seconds)}
    if failure.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def note_failure(error: BaseException, record: RequestRecord) -> Failure:
    """Note in the request's record how it ended, and log the details of what was not foreseen."""
    failure = describe_failure(error)
    record.error_code = failure.code
    if not failure.foreseen:
        _logger.error("Request %s failed.", record.request_id, exc_info=error)
    return failure


def render_error(failure: Failure) -> str:
    """The JSON body for a failure."""
    detail = ErrorDetail(type=failure.type, message=failure.message, param=failure.param, code=failure.code)
    return ErrorBody(error=detail).model_dump_json()


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of routes and of the framework in our shape."""
    app.add_exception_handler(GenRMError, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)


async def _answer(request: Request, error: Exception) -> Response:
    return build_error_response(error, get_record(request))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [{**problem, "loc": problem["loc"][1:]} for problem in error.errors()]  # without "body", "query", …
    return build_error_response(refuse_invalid(problems, known=()), get_record(request))


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {shorten(request.url.path)}"
    refusal: Exception = error
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.NOT_FOUND:
        refusal = RefusalError("not_found", f"There is nothing at {asked}. GET /docs lists what there is.")
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = find_methods(request) or headers.get("Allow", "")
        headers["Allow"] = allowed
        refusal = RefusalError(
            "method_not_allowed", f"{asked} is not possible; this URL takes {allowed or 'other methods'}. Use that."
        )
    elif error.status_code == HTTPStatus.BAD_REQUEST:  # what the framework could not read, it does not say more
        refusal = RefusalError("invalid_json", "The body cannot be read. Send JSON in UTF-8, as the header says.")
    response = build_error_response(refusal, get_record(request))
    response.headers.update(headers)
    return response


def find_methods(request: Request) -> str:
    """All methods of a documented URL, as an `Allow` header names them. The framework knows the first route's only."""
    found: set[str] = set()
    for template, operations in request.app.openapi()["paths"].items():
        if _compile_path(template)[0].match(request.url.path):
            found |= {method.upper() for method in operations}
    return ", ".join(sorted(found))
