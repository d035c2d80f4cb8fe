"""Several tasks about one scene in one training sequence, without seeing each other (`training.packing`).

The prefix (system turn, image) stands once; each task follows as a segment, with positions that go on from the prefix.
So a task is computed exactly as if it stood alone behind the image, and the image is paid for once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from genrm.engines.forward import find_positions
from genrm.prompts import FIRST, MARKER, SECOND
from pocket.scenes import GRID
from pocket.tasks import Task
from training.packing import Block, Row, pack

NUM_IMAGE_TOKENS = GRID * GRID


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """All sequences of a batch behind each other: T tokens, of which K belong to answers.

    ids_T: token ids. position_ids_3T: mRoPE positions. image_slots_T: True at image tokens. blocks: for packed
    attention. predictors_K: positions that predict targets_K. is_verdict_K: True where the target is the label of a
    verdict line; verdict_ids: the ids of the two labels.
    """

    ids_T: Tensor
    position_ids_3T: Tensor
    image_slots_T: Tensor
    blocks: list[Block]
    predictors_K: Tensor
    targets_K: Tensor
    is_verdict_K: Tensor
    verdict_ids: tuple[int, int]


class Packer:
    """Turns tasks into batches for one model and processor."""

    def __init__(self, processor: Qwen2VLProcessor, model: Qwen2VLForConditionalGeneration) -> None:
        self._tokenizer, self._model = processor.tokenizer, model
        first, second = (self._tokenizer(f"\n{MARKER} {label}").input_ids for label in (FIRST, SECOND))
        self._marker, self._verdict_ids = first[-3:-1], (first[-1], second[-1])
        self._prefixes: dict[str, tuple[list[int], Tensor]] = {}

    def pack(self, tasks_of_scenes: Sequence[Sequence[Task]]) -> Batch:
        """One row per scene; all tasks of a scene have the same system text."""
        rows = [self._row(tasks) for tasks in tasks_of_scenes]
        packed = pack(rows)
        answers = [answer for row in rows for _, answer in row.segments]
        is_verdict = [self._is_verdict(answer, place) for answer in answers for place in range(len(answer))]
        return Batch(
            ids_T=packed.ids,
            position_ids_3T=packed.positions,
            image_slots_T=packed.ids == self._model.config.image_token_id,
            blocks=packed.blocks,
            predictors_K=packed.predictors,
            targets_K=packed.targets,
            is_verdict_K=torch.tensor(is_verdict),
            verdict_ids=self._verdict_ids,
        )

    def _row(self, tasks: Sequence[Task]) -> Row:
        prefix, positions = self._prefix(tasks[0].system)
        segments = [
            (
                self._tokenizer(f"{task.user}<|im_end|>\n<|im_start|>assistant\n").input_ids,
                self._tokenizer(f"{task.answer}<|im_end|>").input_ids,
            )
            for task in tasks
        ]
        return Row(prefix=prefix, prefix_positions=positions, segments=segments)

    def _is_verdict(self, answer: Sequence[int], place: int) -> bool:
        return answer[place] in self._verdict_ids and list(answer[max(0, place - 2) : place]) == self._marker

    def _prefix(self, system: str) -> tuple[list[int], Tensor]:
        """Token ids up to the end of the image, and their positions (3, length)."""
        if system not in self._prefixes:
            turn = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
            image = "<|vision_start|>" + "<|image_pad|>" * NUM_IMAGE_TOKENS + "<|vision_end|>"
            ids = self._tokenizer(f"{turn}<|im_start|>user\n{image}").input_ids
            self._prefixes[system] = ids, find_positions(self._model, ids, torch.tensor([[1, 2 * GRID, 2 * GRID]]))
        return self._prefixes[system]
