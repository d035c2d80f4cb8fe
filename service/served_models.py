"""The models that requests may choose by name: the judge that was loaded first, and adapters on it or, of a server of
models, what else it lists.

A name is resolved once per request, to a judge that keeps the version it was resolved to. Replacing an adapter is one
assignment, after the new one was read and tried out: a request gets the old version or the new one and never neither,
and the old one's memory is free when the last request that holds it is done.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from genrm.engines.contract import AdaptableEngine, Engine, MultiModelEngine
from genrm.errors import EngineError, ModelLoadError
from genrm.judge import Judge
from service.adapter_sources import check_adapter_name
from service.errors import RefusalError
from service.schemas import ModelCard
from service.validation import shorten

_MIN_REFRESH_SECONDS = 5.0
"""Least time between two questions to a server about its models that unknown names give rise to."""
_REFRESH_TIMEOUT_SECONDS = 5.0
_SHOWN_NAMES = 20

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Served:
    """One model beside the base. root: what is shown of its source. parent: of an adapter, the model it is put on."""

    judge: Judge
    root: str
    parent: str | None
    created: int


class ServedModels:
    """Knows the judges by name. base: who judges unless a request says otherwise.

    build_judge: makes the judge of another engine, with its calibration; may read files. created: when the service
    started, seconds since 1970. max_adapters: most adapters at once.
    """

    def __init__(self, base: Judge, build_judge: Callable[[Engine], Judge], *, created: int, max_adapters: int) -> None:
        self.base = base
        self._build_judge = build_judge
        self._created = created
        self._max_adapters = max_adapters
        self._others: dict[str, _Served] = {}
        self._changing = asyncio.Lock()
        self._refreshed = -_MIN_REFRESH_SECONDS

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the base's first."""
        return (self.base.name, *self._others)

    def cards(self) -> tuple[ModelCard, ...]:
        """All models as they are listed."""
        base = ModelCard(id=self.base.name, created=self._created, root=self.base.name)
        others = (
            ModelCard(id=name, created=served.created, root=served.root, parent=served.parent)
            for name, served in self._others.items()
        )
        return (base, *others)

    async def choose(self, name: str | None) -> Judge:
        """The judge of that name, of the version that it has now; None is the base. Raises RefusalError."""
        if name is None or name == self.base.name:
            return self.base
        if name not in self._others and time.monotonic() - self._refreshed >= _MIN_REFRESH_SECONDS:
            await self.refresh()
        if (served := self._others.get(name)) is not None:
            return served.judge
        raise self._refuse_unknown(name, "model", "Name one of these, or leave 'model' out.")

    async def refresh(self) -> None:
        """Ask a server of models what it lists now; where there is none, or it does not answer, nothing changes."""
        engine = self.base.engine
        if not isinstance(engine, MultiModelEngine):
            return
        self._refreshed = time.monotonic()
        try:
            async with asyncio.timeout(_REFRESH_TIMEOUT_SECONDS):
                listed = await engine.list_models()
        except (EngineError, TimeoutError):
            _logger.warning("The server did not say which models it has; those known before stay.", exc_info=True)
            return
        self._others = {
            name: self._others.get(name)
            or _Served(
                judge=self._build_judge(engine.for_model(name)), root=name, parent=None, created=int(time.time())
            )
            for name in listed
            if name != self.base.name
        }

    async def load_adapter(self, name: str, source: str, *, root: str, may_replace: bool) -> ModelCard:
        """Serve an adapter under a name, new or, if it may, in another adapter's place.

        source: a folder or hub id. root: what is shown of it. Raises RefusalError for a name that cannot be had or one
        adapter too many, and ModelLoadError if the adapter cannot be served; nothing has changed then.
        """
        check_adapter_name(name)
        async with self._changing:
            self._check_place(name, may_replace=may_replace)
            engine = self.base.engine
            if not isinstance(engine, AdaptableEngine):
                raise ModelLoadError(f"{engine.model} runs on an engine that takes no adapters.")
            adapted = await engine.load_adapter(source, name=name)
            judge = await asyncio.to_thread(self._build_judge, adapted)
            verb = "replaced" if name in self._others else "loaded"
            self._others[name] = _Served(judge=judge, root=root, parent=self.base.name, created=int(time.time()))
            _logger.info("The adapter %s was %s: %s on %s.", name, verb, root, self.base.name)
        return next(card for card in self.cards() if card.id == name)

    async def unload_adapter(self, name: str) -> None:
        """Serve an adapter no more; requests that hold it go on. Raises RefusalError if there is none of that name."""
        async with self._changing:
            served = self._others.get(name)
            if served is None or served.parent is None:
                raise self._refuse_unknown(name, "lora_name", "Only adapters can be unloaded.")
            del self._others[name]
            _logger.info("The adapter %s was unloaded.", name)

    def _check_place(self, name: str, *, may_replace: bool) -> None:
        if name == self.base.name:
            raise RefusalError(
                "invalid_value",
                f"{name!r} is the name of the model that adapters are put on. Choose another one.",
                param="lora_name",
            )
        if name in self._others:
            if not may_replace:
                raise RefusalError(
                    "invalid_value",
                    f"An adapter named {name!r} is loaded already. Choose another name, or set 'load_inplace' to "
                    "replace it.",
                    param="lora_name",
                )
        elif len(self._others) >= self._max_adapters:
            raise RefusalError(
                "invalid_value",
                f"{len(self._others)} adapters are loaded; the limit is {self._max_adapters}. Unload one, or raise "
                "GENRM_MAX_ADAPTERS.",
                param="lora_name",
            )

    def _refuse_unknown(self, name: str, param: str, remedy: str) -> RefusalError:
        names = self.names
        served = ", ".join(names[:_SHOWN_NAMES]) + (" …" if len(names) > _SHOWN_NAMES else "")
        return RefusalError(
            "model_not_found",
            f"The model {shorten(name)!r} is not served here; served: {served}. {remedy}",
            param=param,
        )
