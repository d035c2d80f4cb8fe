"""What a LoRA adapter changes in a running model, added row by row, so that rows of different adapters share a batch.

An `Adapter` is one immutable version: whoever holds it can go on using it while another version takes over its name,
and its memory is free when the last holder lets go. The model's own weights are never touched, so rows without an
adapter are computed as if there were none.

Reading files is `genrm.engines.adapter_files`' business; which rows use which adapter, the caller's.

Why not PEFT's layers: they replace modules of a model that is running, and choose adapters by hooks that are put on and
taken off every layer in every pass. Here each linear layer that any adapter changes gets one hook, once, by the thread
that runs the model.

Shapes: R rows, I inputs and O outputs of a layer, K rank.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrm.engines.architecture import VisionLanguageModel

_versions = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Delta:
    """The change of one linear layer's weight, up @ down, the scaling already in `up`."""

    down_KI: Tensor
    up_OK: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """What is to be added to the layer's outputs for these inputs (…, I)."""
        return F.linear(F.linear(inputs, self.down_KI), self.up_OK)


@dataclass(frozen=True, kw_only=True, slots=True, weakref_slot=True, eq=False)
class Adapter:
    """One version of an adapter. name: what requests call it. source: the folder or hub id that it was read from.

    deltas: by the path of the layer in the model. version: never given twice, so that nothing computed with one version
    is taken for another's.
    """

    name: str
    source: str
    deltas: Mapping[str, Delta]
    version: int = field(default_factory=lambda: next(_versions))


def version_of(adapter: Adapter | None) -> int:
    """What caches tell models apart by; 0 is the model without an adapter."""
    return adapter.version if adapter is not None else 0


_Part = tuple[Adapter, Tensor | None]
"""An adapter of the present pass and the rows that use it; None: all rows."""


class AdapterHooks:
    """Adds adapters' changes during the passes of one model. To be used from the one thread that runs the model."""

    def __init__(self, model: VisionLanguageModel, device: torch.device) -> None:
        self._model = model
        self._device = device
        self._parts: list[_Part] = []
        self._hooked: set[str] = set()

    @contextmanager
    def applied(self, adapters: Sequence[Adapter | None]) -> Iterator[None]:
        """Let the passes inside use these adapters, one per row of their inputs; if all are the same, so is the whole
        input, whatever its shape.
        """
        if any(adapter is not None for adapter in adapters):
            self._parts += self._assign(adapters)
        try:
            yield
        finally:
            self._parts.clear()  # in place, since hooks hold the list; and adapters must not be held beyond the pass

    def _assign(self, adapters: Sequence[Adapter | None]) -> Iterator[_Part]:
        rows: dict[Adapter, list[int]] = {}
        for row, adapter in enumerate(adapters):
            if adapter is not None:
                rows.setdefault(adapter, []).append(row)
        for adapter, own in rows.items():
            self._hook(adapter)
            yield adapter, None if len(own) == len(adapters) else torch.tensor(own, device=self._device)

    def _hook(self, adapter: Adapter) -> None:
        for path in adapter.deltas.keys() - self._hooked:
            # The hook holds no reference to the model: a cycle would keep its memory until a collection.
            self._model.get_submodule(path).register_forward_hook(partial(_add_deltas, path, self._parts))
            self._hooked.add(path)


def _add_deltas(
    path: str, parts: Sequence[_Part], _layer: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor
) -> Tensor:
    for adapter, rows in parts:
        delta = adapter.deltas.get(path)
        if delta is None:
            continue
        if rows is None:
            outputs += delta(inputs[0])
        else:
            outputs.index_add_(0, rows, delta(inputs[0][rows]))
    return outputs
