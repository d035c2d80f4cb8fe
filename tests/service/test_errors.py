"""The one table from kinds of error to HTTP statuses, and what a caller gets to see of each."""

import re
from pathlib import Path
from typing import get_args

import httpx
import pytest

from genrm.errors import (
    EngineClosedError,
    EngineError,
    GenRMError,
    ImageTooLargeError,
    InputTooLongError,
    InvalidComparisonError,
    InvalidImageError,
)
from service.errors import HTTP_STATUS, MEANING, ClientGoneError, Code, Failure, RefusalError, describe_failure


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ImageTooLargeError("too large."), 413, "image_too_large"),
        (InvalidImageError("no image."), 415, "invalid_image"),
        (InputTooLongError("too long."), 413, "text_too_long"),
        (InvalidComparisonError("empty."), 422, "invalid_value"),
        (EngineClosedError("closed"), 503, "shutting_down"),
        (EngineError("out of memory"), 503, "engine_failed"),
        (GenRMError("something"), 500, "internal_error"),
        (ZeroDivisionError("division by zero"), 500, "internal_error"),
        (ClientGoneError("gone"), 499, "client_closed_request"),
        (RefusalError("not_found", "nothing there."), 404, "not_found"),
    ],
)
def test_each_kind_of_error_has_its_status(error: Exception, status: int, code: str) -> None:
    failure = describe_failure(error)
    assert (failure.status, failure.code) == (status, code)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret detail"), EngineError("secret detail"), MemoryError("secret detail")]
)
def test_the_text_of_what_nobody_foresaw_is_not_told(error: Exception) -> None:
    failure = describe_failure(error)
    assert "secret" not in failure.message
    assert not failure.foreseen
    assert "request id" in failure.message


def test_what_a_caller_can_correct_is_told_with_its_field() -> None:
    failure = describe_failure(InvalidComparisonError("The question is empty. Send one.", param="question"))
    assert (failure.message, failure.param, failure.foreseen) == ("The question is empty. Send one.", "question", True)


@pytest.mark.parametrize("error", [EngineClosedError("closed"), EngineError("gone")])
def test_what_may_go_well_later_says_when_to_ask_again(error: Exception) -> None:
    assert describe_failure(error).retry_after_seconds == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not_found", "not_found_error"),
        ("model_not_found", "not_found_error"),
        ("text_too_long", "invalid_request_error"),
        ("invalid_image", "invalid_request_error"),
        ("shutting_down", "unavailable_error"),
        ("internal_error", "internal_error"),
    ],
)
def test_codes_fall_into_the_coarse_types_of_openai_clients(code: Code, kind: str) -> None:
    assert Failure(code=code, message="").type == kind


def test_every_status_that_a_client_can_see_is_explained() -> None:
    assert set(HTTP_STATUS) == set(get_args(Code))
    assert set(MEANING) == set(HTTP_STATUS.values()) - {499}


def test_the_design_note_lists_every_code_under_its_status() -> None:
    note = (Path(__file__).parents[2] / "docs" / "design" / "http-interface.md").read_text("utf-8")
    rows = [line.split("|") for line in note.splitlines() if line.startswith("| ") and line[2].isdigit()]
    documented = {code: int(row[1].strip()) for row in rows for code in re.findall(r"`([a-z_]+)`", row[2])}
    assert documented == {code: status for code, status in HTTP_STATUS.items() if status != 499}


async def test_the_methods_of_a_url_are_all_named_when_another_is_used(client: httpx.AsyncClient) -> None:
    for path, allowed in (("/v1/files", "GET, POST"), ("/v1/files/file-1", "DELETE, GET"), ("/v1/judge", "POST")):
        answer = await client.put(path)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == allowed
        assert allowed in answer.json()["error"]["message"]
