"""Where attention keys and values of many rows lie, so that rows can share, join and leave without copying all of them.

Keys already carry their rotary positions, so a row may lie at any columns of a block as long as the mask says which.
The invariant that keeps everything simple: **the cached tokens of a row are one contiguous run of columns**. `Run`
names such a run, `RowCache` is the transformers cache that writes a forward pass into a block, `RunningRows` is the
block of the rows being decoded: all its runs end at the same column, so a step writes one column for all rows and the
mask need not change.

Not here: the model, tokens, texts. transformers' `DynamicCache` was left out because it concatenates all keys at every
step, `StaticCache` because it can neither take rows in nor let them go.

Shapes: P planes (2 · layers: keys of layer 0, values of layer 0, keys of layer 1, …), R rows, H key-value heads,
C columns, D head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache

_SPARE_COLUMNS = 64
"""Columns that a new block has beyond what its rows need now, at the least: so many steps until it must be moved."""
_SPARE_SHARE = 0.25
"""The same, as a share of what the rows need now."""
_KEPT_NUMEL = 2**24
"""A block of at most so many elements is kept when its last row leaves; fresh memory costs time, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheShape:
    """What the cached tokens of a model look like, the same in all layers."""

    num_layers: int
    num_heads: int
    head_width: int
    dtype: torch.dtype
    device: torch.device

    def new_block(self, *, rows: int, columns: int) -> Tensor:
        """A block (P, R, H, C, D) of zeros: masked garbage could be NaN, and 0 · NaN is NaN."""
        shape = (2 * self.num_layers, rows, self.num_heads, columns, self.head_width)
        return torch.zeros(shape, dtype=self.dtype, device=self.device)


@dataclass(frozen=True, slots=True)
class Run:
    """The cached tokens of one row: `length` columns of row `row` of `block`, from column `start` on."""

    block: Tensor
    row: int
    start: int
    length: int

    def tensor(self) -> Tensor:
        """Keys and values (P, H, length, D), a view."""
        return self.block[:, self.row, :, self.start : self.start + self.length]


class RowCache(Cache):
    """The transformers cache that writes new keys and values into a window of a block and shows attention that window.

    Call `aim` before each forward pass.
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self._window: tuple[Tensor, ...] = ()
        self._fresh: tuple[Tensor, ...] = ()
        self._num_past = 0

    def aim(self, block: Tensor, *, num_rows: int, start: int, column: int, num_new: int) -> None:
        """Let the next pass see columns [start, column + num_new) of the first rows and write from `column` on."""
        window = block[:, :num_rows, :, start : column + num_new]
        self._window = window.unbind(0)
        self._fresh = window[:, :, :, column - start :].unbind(0)
        self._num_past = column - start

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values, each (R, H, new tokens, D). Returns all that attention may look at."""
        plane = 2 * layer_idx
        self._fresh[plane].copy_(key_states)
        self._fresh[plane + 1].copy_(value_states)
        return self._window[plane], self._window[plane + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns in sight before the new tokens, masked ones included; the same for every layer."""
        return self._num_past


class RunningRows:
    """Cached tokens of the rows being decoded; every run ends at the same column.

    A newcomer is laid to the left of the common end, a row that leaves is overwritten by the last one. When the free
    columns are used up, all runs move to the front of the block or into a wider one, which has place for the rows that
    there are then. Left of a run its row holds zeros.
    """

    def __init__(self, shape: CacheShape) -> None:
        self._shape = shape
        self._allocate(rows=0, columns=0)
        self._end = 0
        self._lengths: list[int] = []
        self.cache = RowCache()

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def num_columns(self) -> int:
        """Columns that attention looks at: the length of the longest row."""
        return max(self._lengths, default=0)

    def join(self, runs: list[Run]) -> None:
        """Copy runs in as new rows, in their order, behind the rows that are there."""
        first = len(self._lengths)
        longest = max(self.num_columns, *(run.length for run in runs))
        self._make_room(rows=first + len(runs), columns=longest)
        for row, run in enumerate(runs, first):
            start = self._end - run.length
            self._block[:, row, :, :start] = 0  # who had the place before may have left a NaN, and 0 · NaN is NaN
            self._block[:, row, :, start : self._end] = run.tensor()
            self._mask[row, :start] = -torch.inf
            self._mask[row, start:] = 0
        self._lengths += [run.length for run in runs]

    def drop(self, rows: list[int]) -> list[tuple[int, int]]:
        """Forget rows, given in any order. Returns the moves `(from, to)` that closed the gaps, for parallel lists."""
        num_left = len(self._lengths) - len(rows)
        gaps = sorted(row for row in rows if row < num_left)
        movers = sorted(set(range(num_left, len(self._lengths))).difference(rows))
        active = slice(self._end - self.num_columns, self._end)
        for gap, mover in zip(gaps, movers, strict=True):
            self._block[:, gap, :, active] = self._block[:, mover, :, active]
            self._mask[gap] = self._mask[mover]
            self._lengths[gap] = self._lengths[mover]
        del self._lengths[num_left:]
        if not self._lengths and self._block.numel() > _KEPT_NUMEL:
            self._allocate(rows=0, columns=0)
        return list(zip(movers, gaps, strict=True))

    def begin_step(self) -> Tensor:
        """Aim `cache` at one new column. Returns the mask of that pass, (R, 1, 1, C): 0 to look at, −inf to ignore."""
        self._make_room(rows=len(self), columns=self.num_columns)
        start = self._end - self.num_columns
        self.cache.aim(self._block, num_rows=len(self), start=start, column=self._end, num_new=1)
        # A copy, because attention kernels of GPUs want a mask that begins at an even address.
        return self._mask[: len(self), None, None, start : self._end + 1].clone()

    def end_step(self) -> None:
        """The pass has written its column: every row is one token longer."""
        self._end += 1
        self._lengths = [length + 1 for length in self._lengths]

    def _make_room(self, *, rows: int, columns: int) -> None:
        """Guarantee `rows` rows, `columns` columns before the common end, and one free column after it."""
        row_capacity, column_capacity = self._mask.shape
        if rows <= row_capacity and columns <= self._end < column_capacity:
            return
        width, count = self.num_columns, len(self._lengths)
        source = (slice(None), slice(count), slice(None), slice(self._end - width, self._end))
        target = (slice(None), slice(count), slice(None), slice(columns - width, columns))
        block, mask = self._block, self._mask
        if rows <= row_capacity and columns + _SPARE_COLUMNS // 2 <= column_capacity:
            block[target] = block[source].clone()
            block[:, :count, :, : columns - width] = 0
        else:  # for the rows that there are: more of them were here when all were short
            self._allocate(rows=rows, columns=columns + max(_SPARE_COLUMNS, int(columns * _SPARE_SHARE)))
            self._block[target] = block[source]
        moved = mask[:count, self._end - width : self._end].clone()
        self._mask[:count] = 0
        self._mask[:count, : columns - width] = -torch.inf
        self._mask[:count, columns - width : columns] = moved
        self._end = columns

    def _allocate(self, *, rows: int, columns: int) -> None:
        block = self._shape.new_block(rows=rows, columns=columns)
        mask = torch.zeros(rows, columns, dtype=self._shape.dtype, device=self._shape.device)
        self._block, self._mask = block, mask  # both or, if memory runs out, neither
