"""`/v1/files`: input files of batches and what batches wrote, in OpenAI's shapes."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from service.access import AppSettings, Owner, RequiredKeeper
from service.batches import files as stored
from service.batches.files import CHUNK_BYTES, StoredFile
from service.batches.schemas import FileDeleted, FileList, FileObject, show_file
from service.batches.store import is_file_in_use
from service.database import Database
from service.errors import RefusalError
from service.openapi import ERROR_RESPONSES, FILE_BODY, FILE_CONTENT_RESPONSES
from service.settings import Settings
from service.validation import replace_surrogates, shorten

router = APIRouter(tags=["batches"])
_DAY_SECONDS = 86_400
_MAX_NAME_CHARACTERS = 255
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_FIELDS = ("file", "purpose", _ANCHOR, _SECONDS)
_LIFETIME = re.compile(r"[1-9][0-9]{0,8}")


@router.post("/v1/files", summary="Upload a file", responses=ERROR_RESPONSES, openapi_extra={"requestBody": FILE_BODY})
async def upload_file(request: Request, keeper: RequiredKeeper, settings: AppSettings, owner: Owner) -> FileObject:
    """Upload the input of a batch: a multipart form with `purpose` (`batch`) and `file`, one request a line."""
    try:
        form = await request.form(max_files=1, max_fields=16)
    except (HTTPException, UnicodeError):
        raise RefusalError(
            "invalid_multipart",
            "The body is not a multipart form of one file. Let an HTTP library build it: 'purpose' as text, 'file' as "
            "a file.",
        ) from None
    try:
        upload = _require_upload(form)
        kept_seconds = _read_kept_seconds(form, settings)
        file = await _store(keeper.database, upload, owner, kept_seconds, settings.max_file_bytes)
    finally:
        await form.close()
    return show_file(file)


@router.get("/v1/files", summary="List files", responses=ERROR_RESPONSES)
async def list_files(
    keeper: RequiredKeeper,
    owner: Owner,
    *,
    after: Annotated[str | None, Query(description="The id of the last file that was seen.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Most files in one answer.")] = 100,
    order: Annotated[Literal["asc", "desc"], Query(description="By creation time.")] = "desc",
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
) -> FileList:
    """Uploaded files. What batches wrote is named by the batches."""
    found = await keeper.database.run(
        lambda connection: stored.list_files(
            connection, owner, after=after, limit=limit + 1, newest_first=order == "desc", purpose=purpose
        )
    )
    page = tuple(show_file(file) for file in found[:limit])
    return FileList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/files/{file_id}", summary="Look at a file", responses=ERROR_RESPONSES)
async def get_file(file_id: str, keeper: RequiredKeeper, owner: Owner) -> FileObject:
    """What is known of a file."""
    return show_file(await keeper.database.run(lambda connection: _require_file(connection, file_id, owner)))


@router.delete("/v1/files/{file_id}", summary="Delete a file", responses=ERROR_RESPONSES)
async def delete_file(file_id: str, keeper: RequiredKeeper, owner: Owner) -> FileDeleted:
    """Delete a file, unless a batch that has not ended reads or writes it."""

    def delete(connection: sa.Connection) -> None:
        file = _require_file(connection, file_id, owner)
        if is_file_in_use(connection, file_id):
            raise RefusalError(
                "file_in_use",
                f"The file {shorten(file_id)!r} belongs to a batch that has not ended. Cancel the batch, or wait for "
                "its end.",
            )
        stored.delete_file(connection, file)

    await keeper.database.run(delete)
    return FileDeleted(id=file_id)


@router.get(
    "/v1/files/{file_id}/content",
    summary="Download a file",
    response_class=Response,
    responses=FILE_CONTENT_RESPONSES,
)
async def get_file_content(file_id: str, keeper: RequiredKeeper, owner: Owner) -> Response:
    """The bytes of a file; of a batch that still runs, the results that are there."""
    file = await keeper.database.run(lambda connection: _require_file(connection, file_id, owner))
    return StreamingResponse(_read(keeper.database, file), media_type="application/octet-stream")


def _require_upload(form: FormData) -> UploadFile:
    unknown = sorted(set(form) - set(_FIELDS))
    if unknown:
        raise RefusalError(
            "unknown_field",
            f"Field {shorten(unknown[0])!r} does not exist in this version. Known fields: {', '.join(_FIELDS)}. "
            "Remove it.",
            param=shorten(unknown[0]),
        )
    purpose = form.get("purpose")
    if purpose is None:
        raise RefusalError("missing_field", "Field 'purpose' is missing. Add it; it takes 'batch'.", param="purpose")
    if purpose != "batch":
        given = f"the string {shorten(purpose)!r}" if isinstance(purpose, str) else "a file"
        raise RefusalError(
            "invalid_value", f"Field 'purpose' was given {given}; it takes 'batch'. Correct it.", param="purpose"
        )
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        raise RefusalError("missing_field", "The form has no file. Send one as 'file'.", param="file")
    return upload


def _read_kept_seconds(form: FormData, settings: Settings) -> int:
    """How long a file is kept: as long as the settings say, or less if the caller wishes."""
    most = int(settings.file_retention_days * _DAY_SECONDS)
    anchor, given = form.get(_ANCHOR), form.get(_SECONDS)
    if anchor is None and given is None:
        return most
    if anchor != "created_at" or not isinstance(given, str) or not _LIFETIME.fullmatch(given):
        raise RefusalError(
            "invalid_value",
            f"Field 'expires_after' takes {_ANCHOR}=created_at and {_SECONDS}, an integer of at least 1. Correct it.",
            param="expires_after",
        )
    return min(most, int(given))


async def _store(
    database: Database, upload: UploadFile, owner: str | None, kept_seconds: int, max_bytes: int
) -> StoredFile:
    """Copy a file into the database, a chunk at a time. Raises RefusalError if it is too large."""
    filename = replace_surrogates((upload.filename or "upload.jsonl")[:_MAX_NAME_CHARACTERS].replace("\0", ""))
    file_id = await database.run(
        lambda connection: stored.begin_file(connection, owner=owner, filename=filename, kept_seconds=kept_seconds)
    )
    num_bytes = position = 0
    while content := await upload.read(CHUNK_BYTES):
        num_bytes += len(content)
        if num_bytes > max_bytes:
            await database.run(lambda connection: stored.abandon_file(connection, file_id))
            raise RefusalError(
                "file_too_large",
                f"The file has more than {max_bytes:,} bytes, the limit. Split it, or raise GENRM_MAX_FILE_BYTES.",
                param="file",
            )
        await database.run(_add_chunk(file_id, position, content))
        position += 1

    def end(connection: sa.Connection) -> StoredFile:
        stored.end_file(connection, file_id, num_bytes)
        return _require_file(connection, file_id, owner)

    return await database.run(end)


def _add_chunk(file_id: str, position: int, content: bytes) -> Callable[[sa.Connection], None]:
    return lambda connection: stored.add_chunk(connection, file_id, position, content)


def _require_file(connection: sa.Connection, file_id: str, owner: str | None) -> StoredFile:
    file = stored.find_file(connection, file_id, owner)
    if file is None:
        raise RefusalError(
            "not_found",
            f"There is no file {shorten(file_id)!r} of yours. GET /v1/files lists those uploaded; files are deleted "
            "when their time is over.",
            param="file_id",
        )
    return file


async def _read(database: Database, file: StoredFile) -> AsyncIterator[bytes]:
    if file.result_of is None:
        position = 0
        while (content := await database.run(_read_chunk(file.id, position))) is not None:
            yield content
            position += 1
        return
    batch_id, is_error = file.result_of
    line = 0
    while (page := await database.run(_read_page(batch_id, line, is_error=is_error))) is not None:
        content, line = page
        yield content


def _read_chunk(file_id: str, position: int) -> Callable[[sa.Connection], bytes | None]:
    return lambda connection: stored.read_chunk(connection, file_id, position)


def _read_page(batch_id: str, line: int, *, is_error: bool) -> Callable[[sa.Connection], tuple[bytes, int] | None]:
    return lambda connection: stored.read_result_page(connection, batch_id, is_error=is_error, after_line=line)
