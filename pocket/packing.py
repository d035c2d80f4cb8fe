"""Several tasks about one scene in one training sequence, without seeing each other.

The prefix (system turn, image) stands once; each task follows as a segment that attends to the prefix and to itself,
with positions that go on from the prefix. So a task is computed exactly as if it stood alone behind the image (a test
compares the two), and the image is paid for once. A dense mask over the whole sequence would waste more than half of
the time on scores that count for nothing, so attention is computed per segment: `attend_packed` is registered with
transformers as the attention implementation "packed".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from genrm.prompts import FIRST, MARKER, SECOND
from pocket.scenes import GRID
from pocket.tasks import Task

NUM_IMAGE_TOKENS = GRID * GRID
IGNORED = -100
_LENGTH_STEPS = (32, 64, 96)
"""Segments are attended together with others of a length up to the same one of these, or with all longer ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """Segments of similar length. rows_N: their sequences. slots_NL: their tokens as indices into B * S, padded with
    the first.
    """

    rows_N: Tensor
    slots_NL: Tensor
    real_NL: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A padded batch of packed sequences that have the same prefix.

    ids_BS: token ids. labels_BS: next-token targets, IGNORED outside answers. position_ids_3BS: mRoPE positions.
    num_prefix: tokens before the first segment. image_slots_BS: True at image tokens. is_verdict_BS: True where the
    target is the label of a verdict line; verdict_ids: the ids of the two labels. Legend: B sequences, S tokens, N
    segments, L their tokens.
    """

    ids_BS: Tensor
    labels_BS: Tensor
    position_ids_3BS: Tensor
    image_slots_BS: Tensor
    num_prefix: int
    segments: tuple[Segments, ...]
    is_verdict_BS: Tensor
    verdict_ids: tuple[int, int]


def attend_packed(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: Batch,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention of packed sequences: the prefix causally, each segment to the prefix and causally to itself.

    query: (B, heads, S, D). key, value: (B, key-value heads, S, D). packed: the batch that the pass is for. Returns
    (B, S, heads, D). The mask is ignored. Source of the signature: transformers' attention interface.
    """
    batch, num_heads, size, width = query.shape
    repeats = num_heads // key.shape[1]
    key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    flat = [x.transpose(1, 2).reshape(batch * size, num_heads * width) for x in (query, key, value)]
    prefix = packed.num_prefix
    head = _attend(query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], scaling or width**-0.5)
    out = torch.zeros(batch, size, num_heads, width, dtype=query.dtype)
    out[:, :prefix] = head.transpose(1, 2)
    out = out.reshape(batch * size, num_heads * width)
    for part in packed.segments:
        num, length = part.slots_NL.shape
        own = [
            x.index_select(0, part.slots_NL.flatten()).view(num, length, num_heads, width).transpose(1, 2) for x in flat
        ]
        keys, values = (
            torch.cat([whole[:, :, :prefix].index_select(0, part.rows_N), mine], dim=2)
            for whole, mine in ((key, own[1]), (value, own[2]))
        )
        mixed = _attend(own[0], keys, values, scaling or width**-0.5)
        mixed = mixed.transpose(1, 2).reshape(num * length, num_heads * width)
        real = part.real_NL.flatten()
        out = out.index_copy(0, part.slots_NL.flatten()[real], mixed[real])
    return out.view(batch, size, num_heads, width), None


def _attend(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """Causal attention of the last queries to all keys, (N, heads, L, D). Written out: torch's fused one is slow
    backwards on a CPU.
    """
    length, total = query.shape[2], key.shape[2]
    scores = (query * scaling) @ key.transpose(2, 3)
    hidden = torch.ones(length, total, dtype=torch.bool).triu(total - length + 1)
    return scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1) @ value


def use_packed_attention(model: Qwen2VLForConditionalGeneration) -> None:
    """Switch the language model to `attend_packed`; passes then need `packed=`."""
    AttentionInterface.register("packed", attend_packed)
    model.model.language_model.config._attn_implementation = "packed"  # noqa: SLF001 - the vision tower keeps its own


def use_ordinary_attention(model: Qwen2VLForConditionalGeneration) -> None:
    """Undo `use_packed_attention`."""
    model.model.language_model.config._attn_implementation = "sdpa"  # noqa: SLF001 - as above


class Packer:
    """Turns tasks into batches for one model and processor."""

    def __init__(self, processor: Qwen2VLProcessor, model: Qwen2VLForConditionalGeneration) -> None:
        self._tokenizer, self._model = processor.tokenizer, model
        self._image_id = model.config.image_token_id
        self._marker = torch.tensor(self._tokenizer(f"\n{MARKER}").input_ids[-2:])
        first, second = (self._tokenizer(f"\n{MARKER} {label}").input_ids[-1] for label in (FIRST, SECOND))
        self._verdict_ids = (first, second)
        self._prefixes: dict[str, tuple[list[int], Tensor]] = {}

    def pack(self, tasks_of_scenes: Sequence[Sequence[Task]]) -> Batch:
        """One sequence per scene; all tasks of all scenes have the same system text."""
        rows = [self._row(tasks) for tasks in tasks_of_scenes]
        size = max(len(ids) for ids, *_ in rows)
        num, num_prefix = len(rows), len(self._prefix(tasks_of_scenes[0][0].system)[0])
        ids = torch.full((num, size), self._tokenizer.pad_token_id)
        labels = torch.full((num, size), IGNORED)
        positions = torch.zeros((3, num, size), dtype=torch.long)
        spans: list[tuple[int, int, int]] = []
        for i, (row_ids, row_labels, lengths, row_positions) in enumerate(rows):
            length = len(row_ids)
            ids[i, :length] = torch.from_numpy(row_ids)
            labels[i, : length - 1] = torch.from_numpy(row_labels[1:])
            positions[:, i, :length] = row_positions
            starts = num_prefix + np.cumsum([0, *lengths[:-1]])
            spans += [(i, i * size + int(start), count) for start, count in zip(starts, lengths, strict=True)]
        return Batch(
            ids_BS=ids,
            labels_BS=labels,
            position_ids_3BS=positions,
            image_slots_BS=ids == self._image_id,
            num_prefix=num_prefix,
            segments=_group_segments(spans),
            is_verdict_BS=self._find_verdicts(ids, labels),
            verdict_ids=self._verdict_ids,
        )

    def _find_verdicts(self, ids: Tensor, labels: Tensor) -> Tensor:
        behind_marker = (ids[:, 1:] == self._marker[1]) & (ids[:, :-1] == self._marker[0])
        is_label = torch.isin(labels, torch.tensor(self._verdict_ids))
        return is_label & F.pad(behind_marker, (1, 0))

    def _row(self, tasks: Sequence[Task]) -> tuple[np.ndarray, np.ndarray, list[int], Tensor]:
        """Ids, labels, segment lengths and positions of one sequence."""
        prefix, prefix_positions = self._prefix(tasks[0].system)
        ids, labels = list(prefix), [IGNORED] * len(prefix)
        lengths: list[int] = []
        positions = [prefix_positions]
        start = int(prefix_positions.max()) + 1
        for task in tasks:
            asked = self._tokenizer(f"{task.user}<|im_end|>\n<|im_start|>assistant\n").input_ids
            answered = self._tokenizer(f"{task.answer}<|im_end|>").input_ids
            ids += asked + answered
            labels += [IGNORED] * len(asked) + answered
            lengths.append(len(asked) + len(answered))
            positions.append((start + torch.arange(lengths[-1])).expand(3, -1))
        return np.array(ids), np.array(labels), lengths, torch.cat(positions, dim=1)

    def _prefix(self, system: str) -> tuple[list[int], Tensor]:
        """Token ids up to the end of the image, and their positions (3, length)."""
        if system not in self._prefixes:
            turn = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
            image = "<|vision_start|>" + "<|image_pad|>" * NUM_IMAGE_TOKENS + "<|vision_end|>"
            ids = torch.tensor([self._tokenizer(f"{turn}<|im_start|>user\n{image}").input_ids])
            kinds = (ids == self._image_id).int()
            grid = torch.tensor([[1, 2 * GRID, 2 * GRID]])
            positions, _ = self._model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)
            self._prefixes[system] = ids[0].tolist(), positions[:, 0]
        return self._prefixes[system]


def _group_segments(spans: list[tuple[int, int, int]]) -> tuple[Segments, ...]:
    """Segments by length. spans: (sequence, first token as an index into B * S, number of tokens) of each segment."""
    groups: dict[int, list[tuple[int, int, int]]] = {}
    for span in spans:
        groups.setdefault(sum(span[2] > step for step in _LENGTH_STEPS), []).append(span)
    parts = []
    for members in groups.values():
        rows, starts, lengths = torch.tensor(members).unbind(1)
        offsets = torch.arange(int(lengths.max()))
        real = offsets < lengths[:, None]
        parts.append(
            Segments(rows_N=rows, slots_NL=torch.where(real, starts[:, None] + offsets, starts[:, None]), real_NL=real)
        )
    return tuple(parts)
