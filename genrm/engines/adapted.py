"""One version of an adapter on a running engine, as an engine of its own.

Whoever resolved a name to one of these keeps the version: readings that start later, of the same judgement or ranking,
run on the same weights even if the name has come to mean others.
"""

from collections.abc import Sequence
from typing import Protocol

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.lora import Adapter


class _Host(Protocol):
    """The engine that runs the model."""

    @property
    def has_logprobs(self) -> bool: ...

    async def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        on_text: OnText | None = None,
        adapter: Adapter | None = None,
    ) -> list[Completion]: ...


class AdaptedEngine:
    """Satisfies `genrm.engines.contract.Engine`; the host is started and closed by whoever owns it."""

    def __init__(self, host: _Host, adapter: Adapter) -> None:
        self._host = host
        self._adapter = adapter

    @property
    def model(self) -> str:
        """The adapter's name."""
        return self._adapter.name

    @property
    def weights(self) -> str:
        """Folder or hub id of the adapter; its calibration lies there."""
        return self._adapter.source

    @property
    def has_logprobs(self) -> bool:
        """As the host."""
        return self._host.has_logprobs

    async def start(self) -> None:
        """Nothing: the adapter is loaded."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the host, with the adapter."""
        return await self._host.complete(prompts, sampling, on_text=on_text, adapter=self._adapter)

    async def close(self) -> None:
        """Nothing: its memory is free once nobody holds it."""
