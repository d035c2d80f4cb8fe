"""`/v1/batches`: files of comparisons, judged in the background, in OpenAI's shapes."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request

from service.access import AppSettings, Owner, RequiredKeeper
from service.batches import store
from service.batches.files import find_file
from service.batches.schemas import BatchList, BatchObject, BatchRequest, parse_window, show_batch
from service.batches.store import Batch
from service.errors import RefusalError
from service.incoming import read_fields
from service.openapi import BATCH_BODY, ERROR_RESPONSES
from service.validation import shorten

router = APIRouter(tags=["batches"])
_DAY_SECONDS = 86_400


@router.post(
    "/v1/batches",
    summary="Start a batch",
    responses=ERROR_RESPONSES,
    openapi_extra={"requestBody": BATCH_BODY},
)
async def create_batch(request: Request, keeper: RequiredKeeper, settings: AppSettings, owner: Owner) -> BatchObject:
    """Have the lines of an uploaded file judged. They are worked on while requests leave room, survive crashes and
    restarts, and each ends in the output file or, if it failed, in the error file.
    """
    keeper.require_open()
    fields = await read_fields(request, settings, BatchRequest)

    def add(connection: sa.Connection) -> Batch:
        file = find_file(connection, fields.input_file_id, owner)
        if file is None or file.purpose != "batch":
            what = "is no file of yours" if file is None else "was written by a batch"
            raise RefusalError(
                "invalid_value",
                f"The file {shorten(fields.input_file_id)!r} {what}; a batch takes one that was uploaded with the "
                "purpose 'batch'. POST /v1/files uploads one.",
                param="input_file_id",
            )
        return store.add_batch(
            connection,
            owner=owner,
            endpoint=fields.endpoint,
            input_file_id=file.id,
            completion_window=fields.completion_window,
            window_seconds=parse_window(fields.completion_window),
            kept_seconds=int(settings.file_retention_days * _DAY_SECONDS),
            metadata=fields.metadata or {},
        )

    keeper.require_open()  # once more: the body may have been long in coming
    batch = await keeper.database.run(add)
    await keeper.submit(batch.id)
    return show_batch(batch, store.Counts())


@router.get("/v1/batches", summary="List batches", responses=ERROR_RESPONSES)
async def list_batches(
    keeper: RequiredKeeper,
    owner: Owner,
    *,
    after: Annotated[str | None, Query(description="The id of the last batch that was seen.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Most batches in one answer.")] = 20,
) -> BatchList:
    """Batches, newest first."""

    def find(connection: sa.Connection) -> list[BatchObject]:
        found = store.list_batches(connection, owner, after=after, limit=limit + 1)
        return [show_batch(batch, store.count_results(connection, batch.id)) for batch in found]

    found = await keeper.database.run(find)
    page = tuple(found[:limit])
    return BatchList(
        data=page,
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
        has_more=len(found) > limit,
    )


@router.get("/v1/batches/{batch_id}", summary="Look at a batch", responses=ERROR_RESPONSES)
async def get_batch(batch_id: str, keeper: RequiredKeeper, owner: Owner) -> BatchObject:
    """How far a batch is."""

    def find(connection: sa.Connection) -> BatchObject:
        return show_batch(_require_batch(connection, batch_id, owner), store.count_results(connection, batch_id))

    return await keeper.database.run(find)


@router.post("/v1/batches/{batch_id}/cancel", summary="Cancel a batch", responses=ERROR_RESPONSES)
async def cancel_batch(batch_id: str, keeper: RequiredKeeper, owner: Owner) -> BatchObject:
    """Judge no further line of a batch. What has been judged stays to be read; lines that run are finished."""

    def cancel(connection: sa.Connection) -> BatchObject:
        batch = _require_batch(connection, batch_id, owner)
        if batch.status not in ("cancelling", "cancelled") and not store.move_batch(connection, batch_id, "cancelling"):
            raise RefusalError(
                "batch_ended",
                f"The batch {shorten(batch_id)!r} is {batch.status}; it can no longer be cancelled.",
                param="batch_id",
            )
        return show_batch(_require_batch(connection, batch_id, owner), store.count_results(connection, batch_id))

    return await keeper.database.run(cancel)


def _require_batch(connection: sa.Connection, batch_id: str, owner: str | None) -> Batch:
    batch = store.find_batch(connection, batch_id, owner)
    if batch is None:
        raise RefusalError(
            "not_found",
            f"There is no batch {shorten(batch_id)!r} of yours. GET /v1/batches lists them.",
            param="batch_id",
        )
    return batch
