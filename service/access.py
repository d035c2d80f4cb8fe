"""What routes get handed: the application's settings, life, metrics and image fetcher, put there by
`create_app`; a place among the judgements that run; and the moment by which they must be done.

A route of judgements takes `dependencies=[ADMITTED]`, which refuses before its body is read, and a `RequestDeadline`.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Request

from service.admission import Admission, Place
from service.authentication import get_owner
from service.batches.keeper import BatchKeeper
from service.deadline import HEADER, Deadline, choose_timeout
from service.errors import RefusalError
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.pixel_budget import PixelBudget, PixelShare
from service.remote_image import ImageFetcher
from service.request_record import get_record
from service.settings import Settings


def _get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _get_lifecycle(request: Request) -> Lifecycle:
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


def _get_metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _get_pixel_budget(request: Request) -> PixelBudget:
    budget: PixelBudget = request.app.state.pixel_budget
    return budget


async def _open_share(budget: Annotated[PixelBudget, Depends(_get_pixel_budget)]) -> AsyncIterator[PixelShare]:
    with budget.open() as share:
        yield share


def _get_fetcher(request: Request) -> ImageFetcher:
    fetcher: ImageFetcher = request.app.state.fetcher
    return fetcher


async def _get_admission(request: Request) -> Admission:
    admission: Admission = request.app.state.admission
    return admission


async def _get_keeper(request: Request) -> BatchKeeper:
    keeper: BatchKeeper | None = request.app.state.keeper
    if keeper is None:
        raise RefusalError(
            "no_database",
            "This service keeps nothing (GENRM_DATABASE_URL is none), so it has no files and batches. Have the setting "
            "changed, or use another service.",
        )
    return keeper


async def _get_owner(request: Request) -> str | None:
    return get_owner(get_record(request))


RequiredKeeper = Annotated[BatchKeeper, Depends(_get_keeper)]
"""For routes of files and batches, which are refused where there is no database."""
Owner = Annotated[str | None, Depends(_get_owner)]
"""To whom it belongs what a request makes: the name of its API key."""
AppSettings = Annotated[Settings, Depends(_get_settings)]
AppLifecycle = Annotated[Lifecycle, Depends(_get_lifecycle)]
AppMetrics = Annotated[Metrics, Depends(_get_metrics)]
AppFetcher = Annotated[ImageFetcher, Depends(_get_fetcher)]
AppPixelBudget = Annotated[PixelBudget, Depends(_get_pixel_budget)]
"""For a request that holds the pictures of a part of it at a time."""
RequestPixels = Annotated[PixelShare, Depends(_open_share)]
"""The decoded pixels that a request holds until its answer is sent, streams to their end."""
AppAdmission = Annotated[Admission, Depends(_get_admission)]
"""For a request of several judgements, which admits those beyond its first when it knows their number."""


async def _admit(request: Request, admission: AppAdmission) -> AsyncIterator[Place]:
    with admission.admit() as place:
        yield place
        if get_record(request).error_code is not None:  # a stream that ended badly raises nothing
            place.is_completed = False


ADMITTED = Depends(_admit)
"""One judgement's place, from before the body is read until the answer is sent, streams to their end."""
AdmittedPlace = Annotated[Place, ADMITTED]
"""That place, for a request of several judgements."""


async def _get_deadline(
    request: Request,
    settings: AppSettings,
    timeout_seconds: Annotated[
        float | None,
        Header(
            alias=HEADER,
            gt=0,
            allow_inf_nan=False,
            description="How many seconds after its arrival the request is dropped and answered with 504. The "
            "service's own limit, if it has one, holds as well.",
        ),
    ] = None,
) -> Deadline:
    return Deadline(
        started=get_record(request).started,
        timeout_seconds=choose_timeout(timeout_seconds, settings.request_timeout_seconds),
    )


RequestDeadline = Annotated[Deadline, Depends(_get_deadline)]
