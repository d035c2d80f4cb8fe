"""Puts the application together: routes, error shape, request log, limits, and the life of the engine.

Run: `vl-genrm serve`, which adds the port, the signals and the log (`service.server`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from experts.panel import ExpertPanel
from genrm.engines.contract import Engine
from service.adapter_sources import parse_adapters
from service.admission import Admission
from service.authentication import Authentication
from service.batches.keeper import BatchKeeper
from service.body_limit import BodyLimit
from service.connection import cancel_all
from service.database import Database, read_database_url
from service.engine_choice import build_engine
from service.error_responses import install_error_handlers
from service.expert_choice import load_panel, parse_experts
from service.idempotency import Idempotency
from service.keyring import Keyring
from service.last_answers import LastAnswers
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.observation import count_waiting
from service.openapi import install_schema
from service.pixel_budget import PixelBudget
from service.playground.mount import (
    PATH,
    UPLOAD_PATH,
    Playground,
    import_and_build_page,
    is_wanted,
    redirect_to_playground,
)
from service.quota import Quotas
from service.remote_image import ImageFetcher, build_fetcher
from service.request_log import RequestLog
from service.routes import (
    adapters,
    batches,
    documentation,
    files,
    health,
    judge,
    metrics,
    models,
    openrlhf,
    rerank,
    verify,
)
from service.settings import Settings
from service.tracing import build_tracer
from service.unread_body import UnreadBody

DESCRIPTION = (
    "Which of two responses to a question about an image is better, why, and how likely. Every error has the body "
    '`{"error": {"type", "message", "param", "code"}}`; every answer has an `X-Request-Id`.'
)


_FORM_BYTES = 2**16
"""What a form may have beside its file."""
_TYPICAL_PROMPT_TOKENS = 1_500
"""Of one reading: a picture of a megapixel, a question and two responses."""


def create_app(
    settings: Settings,
    build: Callable[[Settings, Metrics], Engine] = build_engine,
    build_experts: Callable[[Settings, Metrics], ExpertPanel | None] = load_panel,
    fetcher: ImageFetcher | None = None,
) -> FastAPI:
    """The application. The engine is built and started in the background when the server starts the application.

    build, build_experts: make the engine and the vision experts, which may report their work to the metrics. They run
    in a thread because they may import for seconds. fetcher: gets remote images; None builds the one of the settings.
    Raises StartError if experts, adapters, API keys, image hosts or traces in the settings cannot be had: before a
    model is loaded for nothing.
    """
    parse_experts(settings)
    parse_adapters(settings)
    keyring, quotas = Keyring(settings), Quotas()
    tracer = build_tracer(settings)
    app = FastAPI(
        title="VL-GenRM",
        version=version("vl-genrm"),
        description=DESCRIPTION,
        lifespan=_live,
        redirect_slashes=False,
        docs_url=None,  # the framework's pages load scripts from another host; `routes.documentation` is ours
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.metrics = series = Metrics()
    app.state.tracer = tracer
    app.state.fetcher = fetcher or build_fetcher(settings)
    app.state.admission = _build_admission(settings)
    app.state.pixel_budget = PixelBudget(settings.max_waiting_pixels)
    app.state.lifecycle = lifecycle = Lifecycle(
        settings, lambda: build(settings, series), lambda: build_experts(settings, series)
    )
    series.track_waiting(lambda: count_waiting(lifecycle.engine))
    series.track_life(lambda: lifecycle.phase == "ready", lambda: lifecycle.engine)
    url = read_database_url(settings.database_url.get_secret_value() if settings.database_url is not None else None)
    database = Database(url) if url is not None else None
    app.state.keeper = keeper = (
        BatchKeeper(database, lifecycle, app.state.admission, settings, series, app.state.fetcher)
        if database is not None
        else None
    )
    if keeper is not None:
        lifecycle.before_ready.append(("The batch queue", keeper.start))
        lifecycle.on_stop.append(keeper.stop_taking)
    app.state.playground = playground = _mount_playground(app, settings, keyring, quotas)
    if playground is not None:
        lifecycle.before_ready.append(("The playground", playground.start))
    for route in (judge, rerank, verify, openrlhf, files, batches, models, adapters, health, documentation):
        app.include_router(route.router)
    if settings.metrics_port is None:  # otherwise `service.server` serves them there
        app.include_router(metrics.router)
    install_error_handlers(app)
    install_schema(app)
    own_door = PATH if playground else None
    app.add_middleware(
        Idempotency, database=database, replica_id=keeper.replica_id if keeper else "", own_door=own_door
    )
    app.add_middleware(
        BodyLimit,
        max_body_bytes=settings.max_body_bytes,
        others=dict.fromkeys(("/v1/files", UPLOAD_PATH), settings.max_file_bytes + _FORM_BYTES),
    )
    app.add_middleware(Authentication, keyring=keyring, quotas=quotas, own_door=own_door)
    app.add_middleware(RequestLog, metrics=series, tracer=tracer)
    app.add_middleware(UnreadBody, max_bytes=settings.max_body_bytes)
    app.add_middleware(LastAnswers, lifecycle=lifecycle)  # added last: the outermost
    return app


def _mount_playground(app: FastAPI, settings: Settings, keyring: Keyring, quotas: Quotas) -> Playground | None:
    if not is_wanted(settings):
        return None
    playground = Playground(
        app, settings, keyring, lambda: app.state.lifecycle.check_readiness().detail, import_and_build_page, quotas
    )
    app.add_route(PATH, redirect_to_playground, include_in_schema=False)
    app.mount(PATH, playground)
    return playground


def _build_admission(settings: Settings) -> Admission:
    """How many judgements run without waiting is known: of a server of models by the requests it gets at once, two per
    judgement; of our own engine by the tokens that fit a batch, if both readings are as long as they may become.
    """
    num_side_by_side = (
        settings.engine_max_requests // 2
        if settings.engine_url is not None
        else settings.max_batch_tokens // (2 * (_TYPICAL_PROMPT_TOKENS + settings.max_tokens))
    )
    return Admission(
        max_queue=settings.max_queue,
        max_wait_seconds=settings.max_queue_seconds,
        num_side_by_side=num_side_by_side,
    )


@asynccontextmanager
async def _live(app: FastAPI) -> AsyncIterator[None]:
    lifecycle: Lifecycle = app.state.lifecycle
    keeper: BatchKeeper | None = app.state.keeper
    loading = asyncio.ensure_future(lifecycle.load())
    try:
        yield
    finally:
        await cancel_all(loading)
        if app.state.playground is not None:
            await app.state.playground.close()
        if keeper is not None:
            await keeper.close()
        app.state.fetcher.close()
        await lifecycle.close()
        if app.state.tracer is not None:
            await asyncio.to_thread(app.state.tracer.close)
