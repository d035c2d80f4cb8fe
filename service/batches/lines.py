"""The lines of a batch's input file: found in its bytes, read, and planned into pieces. And the lines that become of
them.

A line that cannot be read, or asks for something else, is an error of its own and never the end of the run; only what
makes results impossible to tell apart is one of the whole file.
"""

import codecs
import io
import json
import math
import uuid
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import from_json

from genrm.types import WireModel
from service.batches.files import CHUNK_BYTES
from service.batches.store import BatchProblem, Piece, Result
from service.error_responses import render_error
from service.errors import Failure, RefusalError
from service.incoming import check_structure
from service.settings import Settings
from service.validation import refuse_invalid, shorten

MAX_LINES = 50_000
_MAX_PIECE_LINES = 32
_PIECES_PER_WORKER = 4
_SHOWN_PROBLEMS = 20
_MAX_ID_CHARACTERS = 512

ReadChunk = Callable[[int], bytes | None]
"""Gives the chunk of a file at a position; None after the last."""


class BatchLine(WireModel):
    """One line of a batch's input file."""

    custom_id: str = Field(
        min_length=1, max_length=_MAX_ID_CHARACTERS, description="The caller's name for it; no two may be equal."
    )
    method: Literal["POST"] = "POST"
    url: str = Field(description="The batch's endpoint.")
    body: dict[str, Any] = Field(description="The request, as it would be sent to that endpoint.")


@dataclass(frozen=True, kw_only=True)
class FoundLine:
    """A line that is not blank. number: from 1. content: None if it is longer than allowed."""

    number: int
    start_byte: int
    end_byte: int
    content: bytes | None


@dataclass(frozen=True, kw_only=True)
class ParsedLine:
    """What a line asks for: a body, or a refusal where it cannot be followed. custom_id: None where there is none."""

    custom_id: str | None
    body: bytes = b""
    refusal: RefusalError | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a file is worked off; `problems` if it is not."""

    num_lines: int
    pieces: tuple[Piece, ...]
    problems: tuple[BatchProblem, ...] = ()


def find_lines(
    read_chunk: ReadChunk, *, max_line_bytes: int, first_line: int = 1, start_byte: int = 0, end_byte: int | None = None
) -> Iterator[FoundLine]:
    """The lines of a file from one byte to another; at most a chunk and a line are held at a time.

    first_line: the number of the line that starts at `start_byte`.
    """
    number, line_start, held, is_too_long = first_line, start_byte, bytearray(), False
    position, skipped = divmod(start_byte, CHUNK_BYTES)
    offset = start_byte

    def take() -> FoundLine:
        content = None if is_too_long else bytes(held)
        return FoundLine(number=number, start_byte=line_start, end_byte=offset, content=content)

    while (end_byte is None or offset < end_byte) and (chunk := read_chunk(position)) is not None:
        wanted = chunk[skipped : None if end_byte is None else end_byte - position * CHUNK_BYTES]
        position, skipped = position + 1, 0
        for part in io.BytesIO(wanted):  # splits at line feeds only
            offset += len(part)
            is_too_long = is_too_long or len(held) + len(part) > max_line_bytes
            if is_too_long:
                held.clear()
            else:
                held += part
            if part.endswith(b"\n"):
                if is_too_long or held.strip():
                    yield take()
                number, line_start, is_too_long = number + 1, offset, False
                held.clear()
    if is_too_long or held.strip():
        yield take()


def parse_line(line: FoundLine, *, endpoint: str, settings: Settings) -> ParsedLine:
    """What a line asks for. endpoint: the only one that the batch is for."""
    if line.content is None:
        return ParsedLine(
            custom_id=None,
            refusal=RefusalError(
                "body_too_large",
                f"The line has {line.end_byte - line.start_byte:,} bytes; the limit is {settings.max_body_bytes:,}. "
                "Send smaller or fewer images, or raise GENRM_MAX_BODY_BYTES.",
            ),
        )
    try:
        values = read_values(line.content, settings)
    except RefusalError as error:
        return ParsedLine(custom_id=None, refusal=error)
    except ValueError:
        refusal = RefusalError("invalid_json", "The line is not valid JSON. Write one object a line, in UTF-8.")
        return ParsedLine(custom_id=None, refusal=refusal)
    given_id = values.get("custom_id") if isinstance(values, dict) else None
    custom_id = given_id if isinstance(given_id, str) and 0 < len(given_id) <= _MAX_ID_CHARACTERS else None
    try:
        fields = BatchLine.model_validate(values, strict=True)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        return ParsedLine(custom_id=custom_id, refusal=refuse_invalid(problems, known=list(BatchLine.model_fields)))
    if fields.url != endpoint:
        refusal = RefusalError(
            "invalid_value",
            f"The line's url is {shorten(fields.url)!r}, and the batch is for {endpoint!r}. Make them the same.",
            param="url",
        )
        return ParsedLine(custom_id=custom_id, refusal=refusal)
    return ParsedLine(custom_id=custom_id, body=json.dumps(fields.body).encode())


def plan_file(read_chunk: ReadChunk, *, settings: Settings) -> Plan:
    """Read a file once and plan its pieces: small enough that all workers have something to do until the end."""
    starts, numbers, seen, problems = array("q"), array("q"), dict[bytes, int](), list[BatchProblem]()
    end = 0
    for line in find_lines(read_chunk, max_line_bytes=settings.max_body_bytes):
        if len(starts) == MAX_LINES:
            message = f"The file has more than {MAX_LINES:,} lines, which are allowed at most. Split it."
            return Plan(num_lines=0, pieces=(), problems=(BatchProblem(code="too_many_lines", message=message),))
        starts.append(line.start_byte)
        numbers.append(line.number)
        end = line.end_byte
        custom_id = _find_custom_id(line.content, settings)
        if custom_id is None:
            continue
        first = seen.setdefault(blake2b(custom_id.encode("utf-8", "replace"), digest_size=16).digest(), line.number)
        if first != line.number and len(problems) < _SHOWN_PROBLEMS:
            message = (
                f"The custom_id {shorten(custom_id)!r} of line {line.number:,} is that of line {first:,} as well, so "
                "their results could not be told apart. Give each line its own."
            )
            problems.append(
                BatchProblem(code="duplicate_custom_id", message=message, param="custom_id", line=line.number)
            )
    if not starts:
        message = "The file has no lines. Write one JSON object a line."
        problems.append(BatchProblem(code="empty_file", message=message))
    if problems:
        return Plan(num_lines=0, pieces=(), problems=tuple(problems))
    size = max(1, min(_MAX_PIECE_LINES, math.ceil(len(starts) / (settings.batch_workers * _PIECES_PER_WORKER))))
    pieces = tuple(
        Piece(
            position=first // size,
            first_line=numbers[first],
            last_line=numbers[min(first + size, len(starts)) - 1],
            start_byte=starts[first],
            end_byte=starts[first + size] if first + size < len(starts) else end,
        )
        for first in range(0, len(starts), size)
    )
    return Plan(num_lines=len(starts), pieces=pieces)


def build_success(number: int, custom_id: str | None, request_id: str, body: str) -> Result:
    """The result of a line that was answered. body: the answer, JSON."""
    content = (
        f'{{"id":{_new_id()},"custom_id":{json.dumps(custom_id)},"response":{{"status_code":200,'
        f'"request_id":{json.dumps(request_id)},"body":{body}}},"error":null}}\n'
    )
    return Result(line=number, is_error=False, content=content.encode())


def build_failure(number: int, custom_id: str | None, failure: Failure, request_id: str) -> Result:
    """The result of a line whose request was answered with an error."""
    response = (
        f'{{"status_code":{failure.status},"request_id":{json.dumps(request_id)},"body":{render_error(failure)}}}'
    )
    return _build_error(number, custom_id, failure.code, failure.message, failure.param, response)


def build_unanswered(number: int, custom_id: str | None, code: str, message: str, param: str | None = None) -> Result:
    """The result of a line that was never a request."""
    return _build_error(number, custom_id, code, message, param, "null")


def _build_error(
    number: int, custom_id: str | None, code: str, message: str, param: str | None, response: str
) -> Result:
    error = json.dumps({"code": code, "message": message, "param": param, "line": number})
    content = f'{{"id":{_new_id()},"custom_id":{json.dumps(custom_id)},"response":{response},"error":{error}}}\n'
    return Result(line=number, is_error=True, content=content.encode())


def _new_id() -> str:
    return f'"batch_req_{uuid.uuid4().hex}"'


def _find_custom_id(content: bytes | None, settings: Settings) -> str | None:
    try:
        values = read_values(content or b"null", settings)
    except (RefusalError, ValueError):
        return None
    found = values.get("custom_id") if isinstance(values, dict) else None
    return found if isinstance(found, str) else None


def read_values(content: bytes, settings: Settings) -> Any:  # noqa: ANN401 - any JSON value
    """What a line stands for. Raises RefusalError for more values than any request has, ValueError for no JSON."""
    check_structure(content, settings, num_texts=max(3, 1 + settings.max_candidates))  # of a judgement, of a ranking
    return from_json(content.removeprefix(codecs.BOM_UTF8), cache_strings="none")
