"""Computing prompts up to their first new token, every shared token once.

Three stages, each batched over all groups that start together: the *head* (what precedes the images: the system turn,
equal in all requests, so it is kept from one request to the next), the group's *shared* tokens (images and question;
kept as long as there is room, `genrm.engines.prefix_cache`), and what each prompt has of its own. Samples of one prompt
share everything.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from weakref import ref

from torch import Tensor

from genrm.engines.forward import Extended, Forward, Segment
from genrm.engines.kv_cache import Run
from genrm.engines.lora import Adapter, version_of
from genrm.engines.prefix_cache import Prefix, PrefixCache, PrefixKey, count_common
from genrm.engines.preparation import Group, PreparedPrompt
from genrm.engines.rows import Row

_HeadKey = tuple[int, tuple[int, ...]]
"""Version of the adapter, and token ids."""
_MAX_HEADS = 32
"""Heads kept; there is one per system text and adapter in use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A row whose prompt is computed: its cached tokens and the logits (V,) float32 of its first own token."""

    row: Row
    run: Run
    logits: Tensor


class Prefill:
    """Starts groups of rows with one model. Keeps the heads that it has computed, and shared tokens in `prefixes`."""

    def __init__(self, forward: Forward, *, prefixes: PrefixCache) -> None:
        self._forward = forward
        self._prefixes = prefixes
        self._heads: OrderedDict[_HeadKey, Run] = OrderedDict()
        self._adapters: dict[int, ref[Adapter]] = {}
        """By version, those that something kept here may have been computed with."""
        self.num_prefix_hits = 0
        """Groups whose shared tokens were known."""
        self.num_prefix_misses = 0
        """Groups whose shared tokens were computed and could have been known."""

    def start(self, groups: Sequence[Group]) -> list[Started]:
        """Compute the prompts of all groups, and tell each row how many of its prompt's tokens came for free."""
        self._forget_adapters()
        self._adapters |= {adapter.version: ref(adapter) for group in groups if (adapter := group.call.adapter)}
        known: dict[PrefixKey, Prefix] = {
            key: prefix
            for group in groups
            if (key := group.prefix_key) is not None and (prefix := self._prefixes.find(key)) is not None
        }
        leaders = _choose_leaders(groups, known)
        features = self._encode_images(groups, leaders)
        heads, is_new = self._provide_heads(groups)
        shared, num_known = self._extend_shared(groups, leaders, heads, features, known)
        ends = self._extend_prompts(groups, shared, features)

        started: list[Started] = []
        for index, (group, extended) in enumerate(zip(groups, ends, strict=True)):
            num_cached = 0 if is_new[index] else group.num_head
            num_cached = max(num_cached, num_known[index])
            for prompt, end in zip(group.prompts, extended, strict=True):
                for row in prompt.rows:
                    row.num_cached_tokens = num_cached
                    num_cached = len(prompt.ids)  # further samples compute nothing
                    started.append(Started(row=row, run=end.run, logits=end.logits))
                num_cached = group.num_shared
        return started

    def _encode_images(self, groups: Sequence[Group], leaders: AbstractSet[int]) -> list[Tensor | None]:
        """Features of the images of every leader; None for whoever needs none."""
        lots = {
            index: (group.pixel_values, group.grids, group.call.adapter)
            for index, group in enumerate(groups)
            if index in leaders and group.pixel_values is not None and group.grids is not None
        }
        encoded = self._forward.encode_images(
            [pixels for pixels, _, _ in lots.values()],
            [grids for _, grids, _ in lots.values()],
            [adapter for _, _, adapter in lots.values()],
        )
        found = dict(zip(lots, encoded, strict=True))
        return [found.get(index) for index in range(len(groups))]

    def _provide_heads(self, groups: Sequence[Group]) -> tuple[list[Run | None], list[bool]]:
        """The head of every group, None where it has none, and whether it had to be computed for that group."""
        keys = [(version_of(group.call.adapter), tuple(group.prompts[0].ids[: group.num_head])) for group in groups]
        missing: dict[_HeadKey, Group] = {}
        is_new = []
        for key, group in zip(keys, groups, strict=True):
            new = bool(group.num_head) and key not in self._heads and key not in missing
            is_new.append(new)
            if new:
                missing[key] = group
        extended = self._forward.extend(
            [self._segment(group, group.prompts[0], group.num_head, None, None) for group in missing.values()]
        )
        found = self._heads | {key: head.run for key, head in zip(missing, extended, strict=True)}
        for key, group in zip(keys, groups, strict=True):
            if group.num_head:
                self._heads[key] = found[key]
                self._heads.move_to_end(key)
        while len(self._heads) > _MAX_HEADS:
            self._heads.popitem(last=False)
        return [found.get(key) for key in keys], is_new

    def _extend_shared(
        self,
        groups: Sequence[Group],
        leaders: AbstractSet[int],
        heads: Sequence[Run | None],
        features: Sequence[Tensor | None],
        known: dict[PrefixKey, Prefix],
    ) -> tuple[list[Run | None], list[int]]:
        """The shared tokens of every group, and how many of them were there already: none of a leader's; of the others
        those that a leader computed or the cache kept.
        """
        runs, num_known = list(heads), [0] * len(groups)
        self._extend_runs(groups, [i for i in range(len(groups)) if i in leaders], runs, features)
        for index in leaders:
            key, run = groups[index].prefix_key, runs[index]
            if key is not None and run is not None:
                self.num_prefix_misses += 1
                known[key] = Prefix(tuple(groups[index].prompts[0].ids[: run.length]), run)
                self._prefixes.keep(key, known[key])
        followers = [index for index in range(len(groups)) if index not in leaders]
        for index in followers:
            group = groups[index]
            assert group.prefix_key is not None, "only groups that have a key follow"
            self.num_prefix_hits += 1
            prefix = known[group.prefix_key]
            num_known[index] = count_common(prefix.ids, group.prompts[0].ids[: group.num_shared])
            runs[index] = prefix.cut(num_known[index])
        self._extend_runs(groups, followers, runs, features)
        return runs, num_known

    def _extend_runs(
        self, groups: Sequence[Group], chosen: Sequence[int], runs: list[Run | None], features: Sequence[Tensor | None]
    ) -> None:
        """Extend the runs of the chosen groups, in place, to the end of their shared tokens."""
        todo = [i for i in chosen if groups[i].num_shared > _length(runs[i])]
        extended = self._forward.extend(
            [self._segment(groups[i], groups[i].prompts[0], groups[i].num_shared, runs[i], features[i]) for i in todo]
        )
        for index, end in zip(todo, extended, strict=True):
            runs[index] = end.run

    def _extend_prompts(
        self, groups: Sequence[Group], shared: Sequence[Run | None], features: Sequence[Tensor | None]
    ) -> list[list[Extended]]:
        """The end of every prompt, per group."""
        extended = iter(
            self._forward.extend(
                [
                    self._segment(group, prompt, len(prompt.ids), run, images)
                    for group, run, images in zip(groups, shared, features, strict=True)
                    for prompt in group.prompts
                ]
            )
        )
        return [[next(extended) for _ in group.prompts] for group in groups]

    def _segment(
        self, group: Group, prompt: PreparedPrompt, stop: int, past: Run | None, features: Tensor | None
    ) -> Segment:
        """The tokens of a group's prompt from the end of `past` up to `stop`."""
        whole = Segment(ids=prompt.ids, positions=prompt.positions, image_features=features, adapter=group.call.adapter)
        return self._forward.cut(whole, _length(past), stop, past=past)

    def _forget_adapters(self) -> None:
        """Drop what was computed with adapters that nobody can ask for any more."""
        gone = {version for version, adapter in self._adapters.items() if adapter() is None}
        if gone:
            self._prefixes.forget(gone)
            self._heads = OrderedDict((key, run) for key, run in self._heads.items() if key[0] not in gone)
            self._adapters = {version: kept for version, kept in self._adapters.items() if version not in gone}


def _choose_leaders(groups: Sequence[Group], known: Mapping[PrefixKey, Prefix]) -> frozenset[int]:
    """Which groups must compute their shared tokens; each of the others finds all its image tokens computed."""
    leaders, first_ids = set(), {key: prefix.ids for key, prefix in known.items()}
    for index, group in enumerate(groups):
        key, ids = group.prefix_key, group.prompts[0].ids[: group.num_shared]
        common = 0 if key is None or key not in first_ids else count_common(first_ids[key], ids)
        if key is None or common <= group.end_of_images:
            leaders.add(index)
            if key is not None and key not in first_ids:
                first_ids[key] = tuple(ids)
    return frozenset(leaders)


def _length(run: Run | None) -> int:
    return run.length if run else 0
