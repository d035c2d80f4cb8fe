"""Computed beginnings of prompts (system turn, images, question), kept from one call to the next.

Whoever ranks N answers to one question, or asks about one picture again, sends the same beginning many times. The
engine shares it inside a call anyway; this cache keeps it between calls, least recently used out first. A beginning is
found by its texts and the *content* of its images (decoded pixels, size and mode, by a 256-bit hash), never by a
caller's name for them, and by the version of the adapter that it was computed with.

Not here: heads, which precede the images and are kept without end (`genrm.engines.prefill`).
"""

from collections import OrderedDict
from collections.abc import Container, Sequence
from dataclasses import dataclass

from genrm.engines.contract import Prompt
from genrm.engines.kv_cache import Run
from genrm.engines.lora import Adapter, version_of
from genrm.media import hash_image

PrefixKey = tuple[int, str, tuple[bytes, ...], str]
"""Version of the adapter, system text, one hash per image, shared text."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Token ids of a beginning, and their cached keys and values."""

    ids: tuple[int, ...]
    run: Run

    def cut(self, length: int) -> Run:
        """Its first tokens, `length` of them."""
        return Run(self.run.block, self.run.row, self.run.start, length)


class PrefixCache:
    """Beginnings of at most `max_tokens` tokens in all; 0 keeps none. To be used from one thread."""

    def __init__(self, *, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._kept: OrderedDict[PrefixKey, Prefix] = OrderedDict()
        self.num_tokens = 0

    def find(self, key: PrefixKey) -> Prefix | None:
        """The beginning that was kept under this key."""
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: PrefixKey, prefix: Prefix) -> None:
        """Keep a copy of a beginning, alone in its block, unless it is larger than the whole cache."""
        if len(prefix.ids) > self._max_tokens:
            return
        if (old := self._kept.pop(key, None)) is not None:
            self.num_tokens -= len(old.ids)
        block = prefix.run.tensor()[:, None].clone()  # a view would keep the whole batch's block alive
        self._kept[key] = Prefix(prefix.ids, Run(block, 0, 0, prefix.run.length))
        self.num_tokens += len(prefix.ids)
        while self.num_tokens > self._max_tokens:
            _, dropped = self._kept.popitem(last=False)
            self.num_tokens -= len(dropped.ids)

    def forget(self, versions: Container[int]) -> None:
        """Drop what was computed with these versions of adapters."""
        for key in [key for key in self._kept if key[0] in versions]:
            self.num_tokens -= len(self._kept.pop(key).ids)


def prefix_key(prompt: Prompt, adapter: Adapter | None = None) -> PrefixKey:
    """What the beginning of a prompt is found by, if this adapter computes it."""
    return version_of(adapter), prompt.system, tuple(hash_image(image) for image in prompt.images), prompt.shared


def count_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading tokens two sequences have in common."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
