"""Reads the body of a judgement, verification (JSON or multipart form), ranking or reward (JSON) into fields and
undecoded pictures.

JSON is taken strictly (`"3"` is no integer); a form's parts are all text, so there numbers and booleans are read from
text. The number of a JSON body's values is limited before a parser builds them: of a few bytes each, they would take
hundreds of times as much memory, and the checks of each its time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from genrm.types import WireModel
from service.errors import RefusalError
from service.intake import Picture
from service.openrlhf_schemas import RewardRequest
from service.rerank_schemas import RerankRequest
from service.schemas import ImageFields, JudgeFields, JudgeRequest, VerifyFields, VerifyRequest
from service.settings import Settings
from service.validation import refuse_invalid, shorten

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
_FILE_FIELDS = ("image", "images")
_MAX_JSON_SIGNS = 4_000
"""Commas, opening brackets and quotes of a JSON body outside of its strings: more than any judgement needs."""
_MAX_ROWS_FACTOR = 8
"""Rows of a request for rewards, as a multiple of the candidates that one ranking may have."""
_JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


_Fields = TypeVar("_Fields", bound=WireModel)


@dataclass(frozen=True, kw_only=True)
class Incoming(Generic[_Fields]):
    """What was asked for: its fields, and its pictures as they came in."""

    fields: _Fields
    pictures: tuple[Picture, ...]


async def read_judge_request(request: Request, settings: Settings) -> Incoming[JudgeFields]:
    """The body of a judgement, checked against its schema.

    Raises RefusalError: another content type, malformed, too many values, fields missing or unknown, `samples` or
    `max_tokens` over the settings' limits.
    """
    incoming = await _read_body(request, settings, JudgeRequest, JudgeFields)
    _check_limits(incoming.fields, settings)
    return incoming


def read_judge_json(body: bytes, settings: Settings) -> Incoming[JudgeFields]:
    """A judgement's JSON that came otherwise than as a request's body. Raises RefusalError as `read_judge_request`."""
    incoming = _read_json(body, settings, JudgeRequest)
    _check_limits(incoming.fields, settings)
    return Incoming(fields=incoming.fields, pictures=incoming.pictures)


async def read_verify_request(request: Request, settings: Settings) -> Incoming[VerifyFields]:
    """The body of a verification, checked against its schema. Raises RefusalError as `read_judge_request` does, also
    for a text over its limit.
    """
    incoming = await _read_body(request, settings, VerifyRequest, VerifyFields)
    num_characters = len(incoming.fields.text)
    if num_characters > settings.max_text_characters:
        raise RefusalError(
            "text_too_long",
            f"The text has {num_characters:,} characters; the limit is {settings.max_text_characters:,}. Shorten it, "
            "or raise GENRM_MAX_TEXT_CHARACTERS.",
            param="text",
        )
    return incoming


async def read_rerank_request(request: Request, settings: Settings) -> RerankRequest:
    """The body of a ranking, JSON only, checked against its schema. Raises RefusalError as `read_judge_request` does,
    also for too many candidates.
    """
    return read_rerank_json(await _require_json(request), settings)


def read_rerank_json(body: bytes, settings: Settings) -> RerankRequest:
    """A ranking's JSON that came otherwise than as a request's body. Raises RefusalError as `read_rerank_request`."""
    fields = _parse(body, settings, RerankRequest, num_texts=1 + settings.max_candidates)
    if len(fields.documents) > settings.max_candidates:
        raise RefusalError(
            "invalid_value",
            f"The request has {len(fields.documents)} candidates; the limit is {settings.max_candidates}. Send fewer, "
            "or raise GENRM_MAX_CANDIDATES.",
            param="documents",
        )
    return fields


async def read_fields(request: Request, settings: Settings, schema: type[_Fields]) -> _Fields:
    """A body that is JSON and nothing else, checked against its schema. Raises RefusalError."""
    return _parse(await _require_json(request), settings, schema, num_texts=1)


async def read_reward_request(request: Request, settings: Settings) -> RewardRequest:
    """The body of OpenRLHF's remote reward model, JSON only, checked against its schema.

    Raises RefusalError as `read_judge_request` does, also for too many rows and for lists of different lengths.
    """
    max_rows = _MAX_ROWS_FACTOR * settings.max_candidates
    fields = _parse(await _require_json(request), settings, RewardRequest, num_texts=3 * max_rows)
    num_rows = len(fields.query)
    for name, values in (("prompts", fields.prompts), ("labels", fields.labels)):
        if values is not None and len(values) != num_rows:
            raise RefusalError(
                "invalid_value",
                f"Field {name!r} has {len(values):,} elements and 'query' has {num_rows:,}; each row has one of each. "
                "Send lists of one length.",
                param=name,
            )
    if num_rows > max_rows:
        raise RefusalError(
            "invalid_value",
            f"The request has {num_rows:,} rows; the limit is {max_rows:,}, {_MAX_ROWS_FACTOR} times that of one "
            "ranking. Send fewer, or raise GENRM_MAX_CANDIDATES.",
            param="query",
        )
    return fields


async def _require_json(request: Request) -> bytes:
    content_type = _content_type(request)
    if content_type != JSON_TYPE:
        raise RefusalError(
            "unsupported_media_type",
            f"The body's content type is {shorten(content_type) or 'not given'!r}; this URL takes {JSON_TYPE}, with "
            "any images as data URLs. Set the Content-Type header to what the body is.",
        )
    return await request.body()


def _parse(body: bytes, settings: Settings, schema: type[_Fields], *, num_texts: int) -> _Fields:
    """num_texts: how many texts of the longest length it may have."""
    check_structure(body, settings, num_texts=num_texts)
    try:
        return schema.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise refuse_invalid(error.errors(), known=list(schema.model_fields)) from None


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_body(
    request: Request, settings: Settings, as_json: type[_Fields], as_form: type[_Fields]
) -> Incoming[_Fields]:
    """as_json: the fields and the images; as_form: the fields alone, since a form has its images as files."""
    content_type = _content_type(request)
    if content_type == JSON_TYPE:
        return _read_json(await request.body(), settings, as_json)
    if content_type == FORM_TYPE:
        return await _read_form(request, settings, as_form)
    raise RefusalError(
        "unsupported_media_type",
        f"The body's content type is {shorten(content_type) or 'not given'!r}; {JSON_TYPE} and {FORM_TYPE} are "
        "allowed. Set the Content-Type header to what the body is.",
    )


def _read_json(body: bytes, settings: Settings, as_json: type[_Fields]) -> Incoming[_Fields]:
    check_structure(body, settings, num_texts=3)
    try:
        fields = as_json.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise refuse_invalid(error.errors(), known=list(as_json.model_fields)) from None
    assert isinstance(fields, ImageFields)
    if fields.image is not None and fields.images is not None:
        raise RefusalError(
            "invalid_value", "Both 'image' and 'images' are given; one of them is allowed. Drop one.", param="image"
        )
    if fields.image is not None:
        return Incoming(fields=fields, pictures=(Picture(param="image.url", content=fields.image.url),))
    pictures = [Picture(param=f"images[{i}].url", content=image.url) for i, image in enumerate(fields.images or ())]
    return Incoming(fields=fields, pictures=tuple(pictures))


def check_structure(body: bytes, settings: Settings, *, num_texts: int) -> None:
    """Raise RefusalError if a JSON body has more values than any judgement. Texts within their limit, at most
    `num_texts` of them, may look as they like.
    """
    num_signs = _count_signs(body)
    if num_signs <= _MAX_JSON_SIGNS:
        return
    most_in_texts = num_texts * settings.max_text_characters
    if num_signs > _MAX_JSON_SIGNS + most_in_texts or _count_signs(_JSON_STRING.sub(b"", body)) > _MAX_JSON_SIGNS:
        raise RefusalError(
            "body_too_large",
            f"The JSON body has {num_signs:,} commas, brackets and quotes; no judgement needs more than "
            f"{_MAX_JSON_SIGNS:,} beside its texts. Send only the fields that the documentation lists, and shorter "
            "texts if they are full of these signs.",
        )


def _count_signs(body: bytes) -> int:
    return sum(body.count(sign) for sign in (b",", b"[", b"{", b'"'))


async def _read_form(request: Request, settings: Settings, as_form: type[_Fields]) -> Incoming[_Fields]:
    try:
        # The body as a whole is limited already; the parser's smaller cap on text parts would only hide our messages.
        form = await request.form(max_part_size=settings.max_body_bytes)
    except (HTTPException, UnicodeError):  # the latter: a declared charset that cannot be decoded from
        raise RefusalError(
            "invalid_multipart",
            "The body is not a valid multipart form. Let an HTTP library build it, boundary included.",
        ) from None
    try:
        texts = {name: value for name, value in form.items() if name not in _FILE_FIELDS}
        fields = _read_form_fields(texts, form, as_form)
        pictures = [await _read_upload(name, part) for name, part in form.multi_items() if name in _FILE_FIELDS]
    finally:
        await form.close()
    return Incoming(fields=fields, pictures=tuple(pictures))


def _read_form_fields(texts: Mapping[str, UploadFile | str], form: FormData, as_form: type[_Fields]) -> _Fields:
    for name, value in texts.items():
        if isinstance(value, UploadFile):
            raise RefusalError(
                "invalid_value",
                f"Form field {shorten(name)!r} is a file; files are allowed as 'image' only. Send it as text, or "
                "rename it.",
                param=shorten(name),
            )
        if len(form.getlist(name)) > 1:
            raise RefusalError(
                "invalid_value",
                f"Field {shorten(name)!r} is in the form {len(form.getlist(name))} times; once is allowed. Send it "
                "once.",
                param=shorten(name),
            )
    try:
        return as_form.model_validate(texts)
    except ValidationError as error:
        raise refuse_invalid(error.errors(), known=[*_FILE_FIELDS, *as_form.model_fields]) from None


async def _read_upload(name: str, part: UploadFile | str) -> Picture:
    if isinstance(part, str):
        raise RefusalError(
            "invalid_value",
            f"Form field {name!r} is text; it takes a file. Attach the image as a file (curl: -F image=@photo.png), "
            "or send a data URL in a JSON body.",
            param=name,
        )
    return Picture(param=name, content=await part.read())


def _check_limits(fields: JudgeFields, settings: Settings) -> None:
    for name, limit in (("samples", settings.max_samples), ("max_tokens", settings.max_tokens)):
        value = getattr(fields, name)
        if value is not None and value > limit:
            raise RefusalError(
                "invalid_value",
                f"Field {name!r} is {value:,}; the limit is {limit:,}. Ask for less, or raise GENRM_{name.upper()}.",
                param=name,
            )
