"""The life of one service: loading, ready, stopping; or failed. Health checks and refusals ask here.

The model loads in the background, so that the port answers health checks from the first moment. From SIGTERM on
nothing new is taken.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from experts.panel import ExpertPanel
from genrm.calibration import Calibration, find_calibration
from genrm.engines.contract import Engine
from genrm.errors import GenRMError
from genrm.judge import Judge
from genrm.ranking import load_solver
from service.adapter_sources import parse_adapters
from service.errors import RefusalError
from service.observation import describe_placement, find_stall_seconds, has_died
from service.schemas import Health, ModelCard
from service.served_models import ServedModels
from service.settings import Settings

Phase = Literal["loading", "ready", "stopping", "failed"]
EngineBuilder = Callable[[], Engine]
PanelBuilder = Callable[[], ExpertPanel | None]

_logger = logging.getLogger(__name__)


class Lifecycle:
    """Loads the judge, knows whether it may be used, and closes it.

    phase: where the service is in its life. error: why loading failed. created: start time, seconds since 1970.
    """

    def __init__(self, settings: Settings, build: EngineBuilder, build_panel: PanelBuilder = lambda: None) -> None:
        self.phase: Phase = "loading"
        self.error: Exception | None = None
        self.created = int(time.time())
        self.stopping_since: float | None = None
        """When the stop signal came, by `time.monotonic()`."""
        self._settings = settings
        self._build = build
        self._build_panel = build_panel
        self._engine: Engine | None = None
        self._panel: ExpertPanel | None = None
        self._models: ServedModels | None = None
        self._part = f"The model ({_name_model(settings)})"
        """What is loaded now, or failed to."""
        self._loaded = asyncio.Event()
        self.before_ready: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        """What else has to have started, by name, with how to start it."""
        self.on_stop: list[Callable[[], None]] = []
        """Who else is told of the stop signal, in the signal's own handler; must return at once."""

    async def load(self) -> None:
        """Build and start the engine. Afterwards the phase is `ready`, or `failed` with `error` set."""
        try:
            await self._load()
        finally:
            self._loaded.set()

    async def wait_until_loaded(self) -> None:
        """Return when the model is loaded. Raises what kept it from loading."""
        await self._loaded.wait()
        if self.error is not None:
            raise self.error

    async def _load(self) -> None:
        try:
            self._engine = await asyncio.to_thread(self._build)
            calibration = find_calibration(self._engine)
            await asyncio.gather(self._engine.start(), asyncio.to_thread(load_solver))
            self._part = "A vision expert"
            self._panel = await asyncio.to_thread(self._build_panel)
            self._models = await self._load_models(self._engine, calibration)
            for part, start in self.before_ready:
                self._part = part
                await start()
        except Exception as error:
            if not isinstance(error, GenRMError):
                _logger.exception("%s could not be loaded.", self._part)
            if self.phase == "loading":  # from the stop signal on nobody waits for the model
                self.phase, self.error = "failed", error
            return
        if self.phase == "loading":
            self.phase = "ready"

    async def _load_models(self, engine: Engine, calibration: Calibration) -> ServedModels:
        """The judge on the engine, and all that may be chosen in its place."""
        models = ServedModels(
            self._build_judge(engine, calibration),
            lambda other: self._build_judge(other, find_calibration(other)),
            created=self.created,
            max_adapters=self._settings.max_adapters,
        )
        for name, source in parse_adapters(self._settings).items():
            from genrm.engines.model_files import display_name  # heavy, as all that reads weights

            self._part = f"The adapter {name!r}"
            await models.load_adapter(name, source, root=display_name(source), may_replace=False)
        await models.refresh()
        return models

    def _build_judge(self, engine: Engine, calibration: Calibration) -> Judge:
        return Judge(
            engine,
            verifier=self._panel,
            rules=self._settings.verdict_rules,
            calibration=calibration,
            max_text_characters=self._settings.max_text_characters,
        )

    def stop_accepting(self) -> None:
        """Refuse new judgements from now on; running ones go on."""
        self.phase = "stopping"
        self.stopping_since = self.stopping_since or time.monotonic()
        for tell in self.on_stop:
            tell()

    async def close(self) -> None:
        """Close the engine and the experts, if there are any."""
        self.stop_accepting()
        if self._panel is not None:
            self._panel.close()
        if self._engine is not None:
            await self._engine.close()

    @property
    def engine(self) -> Engine | None:
        """The engine, as soon as it is built."""
        return self._engine

    def describe_start(self, url: str, metrics_url: str | None = None) -> str:
        """The one line that is printed when the model is loaded.

        url: where the service listens. metrics_url: where its metrics are; they are named if that is elsewhere.
        """
        model = ", ".join(self.model_names)
        experts = ", ".join(member.name for member in self._panel.members) if self._panel is not None else "none"
        metrics = f"; metrics: {metrics_url}/metrics" if metrics_url not in (None, url) else ""
        return (
            f"{model} is ready at {url} (documentation: {url}/docs{metrics}); {describe_placement(self._engine)}; "
            f"vision experts: {experts}."
        )

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models that are served, the judge's first; none before they are loaded."""
        return self._models.names if self._models is not None else ()

    async def list_models(self) -> tuple[ModelCard, ...]:
        """The models that are served, as they are listed; none before they are loaded."""
        if self._models is None:
            return ()
        await self._models.refresh()
        return self._models.cards()

    async def choose_judge(self, name: str | None) -> Judge:
        """The judge of a served model, whose `name` it has; None is the one that judges by default.

        Ask once per request: an adapter that is replaced meanwhile does not change what was chosen. Raises RefusalError
        for a name that is not served, and as `require_judge` does.
        """
        return await self.require_models().choose(name)

    def require_judge(self) -> Judge:
        """The judge by default. Raises RefusalError as `require_models` does."""
        return self.require_models().base

    def require_models(self) -> ServedModels:
        """The served models. Raises RefusalError while they load, after that failed, and from SIGTERM on."""
        if self.phase == "ready" and self._models is not None:
            return self._models
        if self.phase == "stopping":
            raise RefusalError(
                "shutting_down",
                "This replica is stopping and takes nothing new. Send the request to another one, or again in a "
                "second.",
                retry_after_seconds=1,
            )
        raise RefusalError(
            "not_ready", f"{self.check_readiness().detail} Ask again later; /readyz says when.", retry_after_seconds=2
        )

    def require_panel(self) -> ExpertPanel:
        """The vision experts. Raises RefusalError where there are none, and as `require_judge` does."""
        self.require_judge()
        if self._panel is None:
            raise RefusalError(
                "no_experts",
                "This service has no vision experts, so nothing can be verified. Start it with GENRM_EXPERTS, e.g. "
                "GENRM_EXPERTS=grounding-dino:IDEA-Research/grounding-dino-base.",
            )
        return self._panel

    def check_readiness(self) -> Health:
        """Whether judgements are taken, and if not, what is missing."""
        match self.phase:
            case "ready" if has_died(self._engine):
                return Health(
                    status="failed",
                    detail="The model's worker has ended; the log has the reason. Restart this replica.",
                )
            case "ready":
                return Health(status="ok", detail="")
            case "loading":
                return Health(status="loading", detail=f"{self._part} is not loaded yet.")
            case "stopping":
                return Health(status="stopping", detail="The service is stopping and finishes what runs.")
            case "failed":
                why = str(self.error) if isinstance(self.error, GenRMError) else "The log has the reason."
                return Health(status="failed", detail=f"{self._part} could not be loaded. {why}")

    def check_liveness(self) -> Health:
        """Whether the worker does its work; restarting helps if not. Loading and stopping are alive."""
        if self.phase == "failed" or (self.phase == "ready" and has_died(self._engine)):
            return self.check_readiness()
        stall_seconds = find_stall_seconds(self._engine)
        if stall_seconds > self._settings.max_stall_seconds:
            return Health(
                status="stalled",
                detail=f"The worker has work and did nothing for {stall_seconds:.0f} s; the limit is "
                f"{self._settings.max_stall_seconds:.0f} s (GENRM_MAX_STALL_SECONDS). Restart this replica.",
            )
        return Health(status="ok", detail="")


def _name_model(settings: Settings) -> str:
    return settings.model or _hide_credentials(settings.engine_url or "") or "the shipped judge"


def _hide_credentials(url: str) -> str:
    """`url` without user name, password and query; it need not be a URL that makes sense."""
    return re.sub(r"^(\w+://)?.*@", r"\1", url).partition("?")[0]
