"""Several tasks about one scene in one training sequence, without seeing each other.

The prefix (system turn, image) stands once; each task follows as a segment that attends to the prefix and to itself, with positions that
go on from the prefix. So a task is computed exactly as if it stood alone behind the image (a test compares the two), and the image is
paid for once: about 1.7 times the tasks per second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from pocket.scenes import GRID
from pocket.tasks import Task

NUM_IMAGE_TOKENS = GRID * GRID
IGNORED = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A padded batch of packed sequences.

    ids_BS: token ids. labels_BS: next-token targets, IGNORED outside answers. position_ids_3BS: mRoPE positions. allowed_B1SS: True where
    a query may attend. image_slots_BS: True at image tokens. Legend: B sequences, S tokens.
    """

    ids_BS: Tensor
    labels_BS: Tensor
    position_ids_3BS: Tensor
    allowed_B1SS: Tensor
    image_slots_BS: Tensor


class Packer:
    """Turns tasks into batches for one model and processor."""

    def __init__(self, processor: Qwen2VLProcessor, model: Qwen2VLForConditionalGeneration) -> None:
        self._tokenizer, self._model = processor.tokenizer, model
        self._image_id = model.config.image_token_id
        self._prefixes: dict[str, tuple[list[int], Tensor]] = {}

    def pack(self, tasks_of_scenes: Sequence[Sequence[Task]]) -> Batch:
        """One sequence per scene; all tasks of a scene have the same system text."""
        rows = [self._row(tasks) for tasks in tasks_of_scenes]
        size = max(len(ids) for ids, *_ in rows)
        num = len(rows)
        ids = torch.full((num, size), self._tokenizer.pad_token_id)
        labels = torch.full((num, size), IGNORED)
        segments = torch.full((num, size), -1)
        positions = torch.zeros((3, num, size), dtype=torch.long)
        for i, (row_ids, row_labels, row_segments, row_positions) in enumerate(rows):
            length = len(row_ids)
            ids[i, :length] = torch.from_numpy(row_ids)
            labels[i, : length - 1] = torch.from_numpy(row_labels[1:])
            segments[i, :length] = torch.from_numpy(row_segments)
            positions[:, i, :length] = row_positions
        same = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
        causal = torch.ones(size, size, dtype=torch.bool).tril()
        return Batch(
            ids_BS=ids,
            labels_BS=labels,
            position_ids_3BS=positions,
            allowed_B1SS=(same & causal)[:, None],
            image_slots_BS=ids == self._image_id,
        )

    def _row(self, tasks: Sequence[Task]) -> tuple[np.ndarray, np.ndarray, np.ndarray, Tensor]:
        prefix, prefix_positions = self._prefix(tasks[0].system)
        ids, labels, segments = list(prefix), [IGNORED] * len(prefix), [0] * len(prefix)
        positions = [prefix_positions]
        start = int(prefix_positions.max()) + 1
        for number, task in enumerate(tasks, 1):
            asked = self._tokenizer(f"{task.user}<|im_end|>\n<|im_start|>assistant\n").input_ids
            answered = self._tokenizer(f"{task.answer}<|im_end|>").input_ids
            ids += asked + answered
            labels += [IGNORED] * len(asked) + answered
            segments += [number] * (len(asked) + len(answered))
            positions.append((start + torch.arange(len(asked) + len(answered))).expand(3, -1))
        return np.array(ids), np.array(labels), np.array(segments), torch.cat(positions, dim=1)

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
