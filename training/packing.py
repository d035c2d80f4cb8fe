"""Many sequences in one, without padding and without computing a common beginning twice.

Sequences about one image begin alike: system turn, image, question. Such sequences form a *row*: the common prefix
stands once, each sequence's rest follows as a *segment* that attends to the prefix and causally to itself. All rows of
a batch are laid behind each other as one sequence of T tokens, so every layer but attention computes exactly the tokens
that there are. Attention goes by *blocks* of similar length: gather queries and keys, attend under a mask, put back.
Each sequence is computed exactly as if it stood alone (tests compare the two).

`attend_packed` is registered with transformers as the attention implementation "packed"; a model that is switched to it
(`use_packed_attention`) needs `blocks=` in every pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

_LENGTH_STEPS = (32, 64, 96, 160, 320, 640, 1280)
"""Segments are attended together with others of a length up to the same one of these, or with all longer ones."""

Block = dict[str, Tensor]
"""Sequences that attend together, N of them, L queries and C keys each: `queries` (N, L) and `keys` (N, C), tokens as
indices into T, padded with any; `visible` (N, L, C), True where a query may look; `real` (N, L), False at padding. A
plain dictionary, so that trainers move it to a device.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Sequences with a common beginning, as token ids: the prefix, and behind it segments of a question and its answer.

    prefix_positions: rotary positions (3, len(prefix)), int64. Neither prefix nor questions nor answers are empty.
    """

    prefix: Sequence[int]
    prefix_positions: Tensor
    segments: Sequence[tuple[Sequence[int], Sequence[int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """Rows behind each other: T tokens, of which K belong to answers; int64, on the CPU.

    ids (T,). positions (3, T): rotary. blocks: for attention. predictors (K,): positions that predict a token of an
    answer. targets (K,): these tokens. owners (K,): which segment each belongs to, counted over all rows.
    """

    ids: Tensor
    positions: Tensor
    blocks: list[Block]
    predictors: Tensor
    targets: Tensor
    owners: Tensor


def pack(rows: Sequence[Row]) -> Packed:
    """Lay rows behind each other. Positions of a segment go on from the highest of its prefix, in all three axes."""
    ids, positions = list[int](), list[Tensor]()
    predictors, targets, owners = list[int](), list[int](), list[int]()
    spans: list[tuple[range, range]] = []
    num_segments = 0
    for row in rows:
        prefix = range(len(ids), len(ids) + len(row.prefix))
        spans.append((range(0), prefix))
        ids += row.prefix
        positions.append(row.prefix_positions)
        next_position = int(row.prefix_positions.max()) + 1
        for question, answer in row.segments:
            begin = len(ids)
            ids += [*question, *answer]
            own = range(begin, len(ids))
            spans.append((prefix, own))
            positions.append((next_position + torch.arange(len(own))).expand(3, -1))
            predictors += own[len(question) - 1 : -1]
            targets += answer
            owners += [num_segments] * len(answer)
            num_segments += 1
    return Packed(
        ids=torch.tensor(ids),
        positions=torch.cat(positions, dim=1),
        blocks=_lay_out(spans),
        predictors=torch.tensor(predictors),
        targets=torch.tensor(targets),
        owners=torch.tensor(owners),
    )


def _lay_out(spans: Sequence[tuple[range, range]]) -> list[Block]:
    """spans: what each sequence has before it, and its own tokens."""
    groups: dict[tuple[bool, int], list[tuple[range, range]]] = {}
    for prefix, own in spans:
        groups.setdefault((bool(prefix), sum(len(own) > step for step in _LENGTH_STEPS)), []).append((prefix, own))
    return [_make_block(members) for members in groups.values()]


def _make_block(spans: Sequence[tuple[range, range]]) -> Block:
    before, real_before = _pad([prefix for prefix, _ in spans])
    own, real_own = _pad([span for _, span in spans])
    num, length = own.shape
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(num, -1, -1)
    return {
        "queries": own,
        "keys": torch.cat([before, own], dim=1),
        "visible": torch.cat([real_before[:, None].expand(-1, length, -1), causal], dim=2),
        "real": real_own,
    }


def _pad(spans: Sequence[range]) -> tuple[Tensor, Tensor]:
    """Indices (N, longest) on the right of which the first is repeated, and which of them are no padding."""
    starts = torch.tensor([span.start for span in spans])[:, None]
    offsets = torch.arange(max(len(span) for span in spans))
    real = offsets < torch.tensor([len(span) for span in spans])[:, None]
    return torch.where(real, starts + offsets, starts), real


def attend_packed(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    blocks: Sequence[Block],
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention of one packed sequence, block by block.

    query: (1, heads, T, D). key, value: (1, key-value heads, T, D). Returns (1, T, heads, D). The mask is ignored.
    Raises ValueError for a layer with a sliding window. Source of the signature: transformers' attention interface.
    """
    if sliding_window is not None:
        raise ValueError(f"Packed attention sees everything, but this layer has a window of {sliding_window} tokens.")
    num_heads, num_tokens, width = query.shape[1:]
    repeats = num_heads // key.shape[1]
    flat = [
        states[0].transpose(0, 1).reshape(num_tokens, -1)
        for states in (query, key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1))
    ]
    out = torch.zeros_like(flat[0])
    for block in blocks:
        queries, keys, values = (
            states.index_select(0, slots.flatten()).view(*slots.shape, num_heads, width).transpose(1, 2)
            for states, slots in zip(flat, (block["queries"], block["keys"], block["keys"]), strict=True)
        )
        mixed = _attend(queries, keys, values, block["visible"][:, None], scaling or width**-0.5)
        real = block["real"].flatten()
        rows = mixed.transpose(1, 2).reshape(-1, num_heads * width)[real]
        out = out.index_copy(0, block["queries"].flatten()[real], rows.to(out.dtype))
    return out.view(1, num_tokens, num_heads, width), None


def _attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scaling: float) -> Tensor:
    """Attention, (N, heads, L, D), where `visible` (N, 1, L, C) allows it. Written out on a CPU, where torch's fused
    one is slow backwards.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling)
    scores = (query * scaling) @ key.transpose(2, 3)
    return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(dim=-1) @ value


def use_packed_attention(model: Any) -> None:  # noqa: ANN401 - any model of the Qwen2-VL family
    """Switch the language model to `attend_packed`; the vision tower keeps its own attention.

    transformers makes no mask for an attention that it knows no mask of; blocks carry theirs.
    """
    AttentionInterface.register("packed", attend_packed)
    model.model.language_model.config._attn_implementation = "packed"  # noqa: SLF001 - transformers' setter is for all


def use_ordinary_attention(model: Any) -> None:  # noqa: ANN401 - as above
    """Undo `use_packed_attention`."""
    model.model.language_model.config._attn_implementation = "sdpa"  # noqa: SLF001 - as above
