"""Computing prompts up to their first new token, every shared token once.

Three stages, each batched over all groups that start together: the *head* (what precedes the images: the system turn,
equal in all requests, so it is kept from one request to the next), the group's *shared* tokens (images and question),
and what each prompt has of its own. Samples of one prompt share everything.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from genrm.engines.forward import Extended, Forward, Segment
from genrm.engines.kv_cache import Run
from genrm.engines.preparation import Group, PreparedPrompt
from genrm.engines.rows import Row

_MAX_HEADS = 8
"""Heads kept; there is one per system text in use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A row whose prompt is computed: its cached tokens and the logits (V,) float32 of its first own token."""

    row: Row
    run: Run
    logits: Tensor


class Prefill:
    """Starts groups of rows with one model. Keeps the heads that it has computed."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._heads: OrderedDict[tuple[int, ...], Run] = OrderedDict()

    def start(self, groups: Sequence[Group]) -> list[Started]:
        """Compute the prompts of all groups, and tell each row how many of its prompt's tokens came for free."""
        features = self._encode_images(groups)
        heads, is_new = self._provide_heads(groups)
        shared = self._extend_shared(groups, heads, features)
        ends = self._extend_prompts(groups, shared, features)

        started: list[Started] = []
        for group, extended, new_head in zip(groups, ends, is_new, strict=True):
            num_cached = 0 if new_head else group.num_head
            for prompt, end in zip(group.prompts, extended, strict=True):
                for row in prompt.rows:
                    row.num_cached_tokens = num_cached
                    num_cached = len(prompt.ids)  # further samples compute nothing
                    started.append(Started(row=row, run=end.run, logits=end.logits))
                num_cached = group.num_shared
        return started

    def _encode_images(self, groups: Sequence[Group]) -> list[Tensor | None]:
        lots = [
            (group.pixel_values, group.grids)
            for group in groups
            if group.pixel_values is not None and group.grids is not None
        ]
        encoded = iter(self._forward.encode_images([pixels for pixels, _ in lots], [grids for _, grids in lots]))
        return [None if group.pixel_values is None else next(encoded) for group in groups]

    def _provide_heads(self, groups: Sequence[Group]) -> tuple[list[Run | None], list[bool]]:
        """The head of every group, None where it has none, and whether it had to be computed for that group."""
        keys = [tuple(group.prompts[0].ids[: group.num_head]) for group in groups]
        missing: dict[tuple[int, ...], PreparedPrompt] = {}
        is_new = []
        for key, group in zip(keys, groups, strict=True):
            new = bool(key) and key not in self._heads and key not in missing
            is_new.append(new)
            if new:
                missing[key] = group.prompts[0]
        extended = self._forward.extend(
            [Segment(ids=key, positions=prompt.positions[:, : len(key)]) for key, prompt in missing.items()]
        )
        found = self._heads | {key: head.run for key, head in zip(missing, extended, strict=True)}
        for key in filter(None, keys):
            self._heads[key] = found[key]
            self._heads.move_to_end(key)
        while len(self._heads) > _MAX_HEADS:
            self._heads.popitem(last=False)
        return [found.get(key) for key in keys], is_new

    def _extend_shared(
        self, groups: Sequence[Group], heads: Sequence[Run | None], features: Sequence[Tensor | None]
    ) -> list[Run | None]:
        runs = list(heads)
        todo = [index for index, group in enumerate(groups) if group.num_shared > group.num_head]
        extended = self._forward.extend(
            [
                self._segment(groups[index].prompts[0], groups[index].num_shared, heads[index], features[index])
                for index in todo
            ]
        )
        for index, end in zip(todo, extended, strict=True):
            runs[index] = end.run
        return runs

    def _extend_prompts(
        self, groups: Sequence[Group], shared: Sequence[Run | None], features: Sequence[Tensor | None]
    ) -> list[list[Extended]]:
        """The end of every prompt, per group."""
        extended = iter(
            self._forward.extend(
                [
                    self._segment(prompt, len(prompt.ids), run, images)
                    for group, run, images in zip(groups, shared, features, strict=True)
                    for prompt in group.prompts
                ]
            )
        )
        return [[next(extended) for _ in group.prompts] for group in groups]

    def _segment(self, prompt: PreparedPrompt, stop: int, past: Run | None, features: Tensor | None) -> Segment:
        """The tokens of a prompt from the end of `past` up to `stop`."""
        whole = Segment(ids=prompt.ids, positions=prompt.positions, image_features=features)
        return self._forward.cut(whole, past.length if past else 0, stop, past=past)
