"""Files and batches as they go over the wire: OpenAI's shapes, so that its clients can be used.

Two differences: `completion_window` may be other than a day, and what failed is both a response and an error.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from genrm.types import WireModel
from service.batches.files import Purpose, StoredFile, name_result_file
from service.batches.store import Batch, BatchProblem, Counts, Status

Endpoint = Literal["/v1/judge", "/v1/rerank"]
WINDOW_PATTERN = r"^[1-9][0-9]{0,3}[smhd]$"
_MetadataKey = Annotated[str, StringConstraints(max_length=64)]
_MetadataValue = Annotated[str, StringConstraints(max_length=512)]
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class FileObject(WireModel):
    """A file: uploaded, or written by a batch."""

    id: str
    object: Literal["file"] = "file"
    bytes: int = Field(description="Its size.")
    created_at: int = Field(description="Seconds since 1970, UTC.")
    expires_at: int = Field(description="When it is deleted, seconds since 1970, UTC.")
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"


class FileList(WireModel):
    """Some files, newest first unless asked otherwise."""

    object: Literal["list"] = "list"
    data: tuple[FileObject, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(WireModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class BatchRequest(WireModel):
    """What is to be done with a file."""

    input_file_id: str = Field(description="A file uploaded for the purpose `batch`.")
    endpoint: Endpoint = Field(description="What each of its lines asks for.")
    completion_window: str = Field(
        default="24h",
        pattern=WINDOW_PATTERN,
        description="How long the batch may take: a number and `s`, `m`, `h` or `d`. What is not done by then expires.",
    )
    metadata: dict[_MetadataKey, _MetadataValue] | None = Field(
        default=None,
        max_length=16,
        description="The caller's own notes: at most 16, of at most 64 characters each for a key and 512 for a value.",
    )


class BatchErrors(WireModel):
    """Why a batch is not worked on at all."""

    class Item(WireModel):
        """One reason."""

        code: str
        message: str
        param: str | None
        line: int | None = Field(description="The line of the input file, from 1.")

    object: Literal["list"] = "list"
    data: tuple[Item, ...]


class RequestCounts(WireModel):
    """Lines of a batch; `total` is 0 until its file has been read."""

    total: int
    completed: int
    failed: int


class BatchObject(WireModel):
    """A batch as it stands."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None = Field(
        description="Verdicts, from the first one on; complete when the batch has ended."
    )
    error_file_id: str | None = Field(description="Lines that failed, from the first one on.")
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str]


class BatchList(WireModel):
    """Some batches, newest first."""

    object: Literal["list"] = "list"
    data: tuple[BatchObject, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool


def parse_window(window: str) -> int:
    """Seconds of a completion window that fits `WINDOW_PATTERN`."""
    return int(window[:-1]) * _UNIT_SECONDS[window[-1]]


def show_file(file: StoredFile) -> FileObject:
    """A file for the wire."""
    return FileObject(
        id=file.id,
        bytes=file.num_bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
        filename=file.filename,
        purpose=file.purpose,
    )


def show_batch(batch: Batch, counts: Counts) -> BatchObject:
    """A batch for the wire."""
    own = set(BatchObject.model_fields) & set(vars(batch)) - {"errors"}
    return BatchObject(
        **{name: getattr(batch, name) for name in own},
        errors=BatchErrors(data=tuple(map(_show_problem, batch.errors))) if batch.errors else None,
        output_file_id=name_result_file(batch.id, "output") if counts.has_output else None,
        error_file_id=name_result_file(batch.id, "errors") if counts.has_errors else None,
        request_counts=RequestCounts(total=batch.num_lines, completed=counts.num_completed, failed=counts.num_failed),
    )


def _show_problem(problem: BatchProblem) -> BatchErrors.Item:
    return BatchErrors.Item(**vars(problem))
