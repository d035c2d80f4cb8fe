"""Reads the body of a judgement, JSON or multipart form, into fields and undecoded pictures.

JSON is taken strictly (`"3"` is no integer); a form's parts are all text, so there numbers and booleans are read from
text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.errors import RefusalError
from service.intake import Picture
from service.schemas import JudgeFields, JudgeRequest
from service.settings import Settings
from service.validation import refuse_invalid, shorten

JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
_FILE_FIELDS = ("image", "images")


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """A judgement that was asked for: its fields, and its pictures as they came in."""

    fields: JudgeFields
    pictures: tuple[Picture, ...]


async def read_judge_request(request: Request, settings: Settings) -> Incoming:
    """The request's body, checked against its schema.

    Raises RefusalError: another content type, malformed, fields missing or unknown, `samples` or
    `max_tokens` over the settings' limits.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == JSON_TYPE:
        incoming = _read_json(await request.body())
    elif content_type == FORM_TYPE:
        incoming = await _read_form(request, settings)
    else:
        raise RefusalError(
            "unsupported_media_type",
            f"The body's content type is {shorten(content_type) or 'not given'!r}; {JSON_TYPE} and {FORM_TYPE} are "
            "allowed. Set the Content-Type header to what the body is.",
        )
    _check_limits(incoming.fields, settings)
    return incoming


def _read_json(body: bytes) -> Incoming:
    try:
        fields = JudgeRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise refuse_invalid(error.errors(), known=list(JudgeRequest.model_fields)) from None
    if fields.image is not None and fields.images is not None:
        raise RefusalError(
            "invalid_value", "Both 'image' and 'images' are given; one of them is allowed. Drop one.", param="image"
        )
    if fields.image is not None:
        return Incoming(fields=fields, pictures=(Picture(param="image.url", content=fields.image.url),))
    pictures = [Picture(param=f"images[{i}].url", content=image.url) for i, image in enumerate(fields.images or ())]
    return Incoming(fields=fields, pictures=tuple(pictures))


async def _read_form(request: Request, settings: Settings) -> Incoming:
    try:
        # The body as a whole is limited already; the parser's smaller cap on text parts would only hide our messages.
        form = await request.form(max_part_size=settings.max_body_bytes)
    except HTTPException:
        raise RefusalError(
            "invalid_multipart",
            "The body is not a valid multipart form. Let an HTTP library build it, boundary included.",
        ) from None
    try:
        fields = _read_form_fields({name: value for name, value in form.items() if name not in _FILE_FIELDS}, form)
        pictures = [await _read_upload(name, part) for name, part in form.multi_items() if name in _FILE_FIELDS]
    finally:
        await form.close()
    return Incoming(fields=fields, pictures=tuple(pictures))


def _read_form_fields(texts: Mapping[str, UploadFile | str], form: FormData) -> JudgeFields:
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
        return JudgeFields.model_validate(texts)
    except ValidationError as error:
        raise refuse_invalid(error.errors(), known=[*_FILE_FIELDS, *JudgeFields.model_fields]) from None


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
