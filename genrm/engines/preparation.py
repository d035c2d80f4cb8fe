"""From a call's prompts to token ids, positions and pixels, in groups that share what they have in common.

Prompts of a call with the same system text, images and shared text form a *group*. Its images are preprocessed once,
equal prompts (samples of one reading) are kept once, and the group's rows are split where their token ids begin to
differ, so nothing has to be known of how a tokenizer treats the seam. A group with more rows than may run together is
cut.

Rendering is the processor's chat template; nothing here knows a model's markup. Nothing is computed on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image
from torch import Tensor

from genrm.engines.architecture import Processor, VisionLanguageModel
from genrm.engines.contract import Prompt
from genrm.engines.forward import find_positions
from genrm.engines.prefix_cache import PrefixKey, prefix_key
from genrm.engines.rows import Call, Row, Vocabulary
from genrm.errors import InputTooLongError, InvalidComparisonError, InvalidImageError


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPrompt:
    """One distinct prompt of a group and the rows that continue it.

    ids: with one placeholder per image token. positions: (3, len(ids)), int64, on the CPU.
    """

    ids: list[int]
    positions: Tensor
    rows: list[Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Prompts that share their beginning: ids[:num_head] precede the images, ids[:num_shared] are equal in all prompts.

    pixel_values: (patches, values of a patch); grids: (images, 3), in patches; both None without images. prefix_key:
    what its shared tokens may be kept under; None if they are not worth it.
    """

    call: Call
    prompts: list[PreparedPrompt]
    num_head: int
    num_shared: int
    pixel_values: Tensor | None
    grids: Tensor | None
    prefix_key: PrefixKey | None = None
    end_of_images: int = 0
    """Tokens up to and including the last one of an image."""

    @property
    def rows(self) -> list[Row]:
        """All rows of the group."""
        return [row for prompt in self.prompts for row in prompt.rows]


def build_conversation(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt's system and user turns as chat-template messages; an empty system text gives no system turn."""
    content: list[dict[str, str]] = [{"type": "image"} for _ in prompt.images]
    content.append({"type": "text", "text": prompt.shared + prompt.tail})
    user = {"role": "user", "content": content}
    if not prompt.system:
        return [user]
    return [{"role": "system", "content": [{"type": "text", "text": prompt.system}]}, user]


def render_text(processor: Processor, prompt: Prompt) -> str:
    """The text that the model continues, with one placeholder per image."""
    rendered = processor.apply_chat_template(build_conversation(prompt), add_generation_prompt=True, tokenize=False)
    return rendered + prompt.answer_prefix


class Preparation:
    """Prepares calls for one loaded model.

    max_batch_tokens: most tokens of rows that run together. keeps_prefixes: whether groups get a `prefix_key`.
    `max_context`: most tokens of a prompt with its completion.
    """

    def __init__(
        self,
        processor: Processor,
        model: VisionLanguageModel,
        *,
        max_batch_tokens: int,
        keeps_prefixes: bool = False,
    ) -> None:
        self._processor = processor
        self._model = model
        self._image_token_id: int = model.config.image_token_id
        self.max_context: int = model.config.text_config.max_position_embeddings
        self._max_batch_tokens = max_batch_tokens
        self._keeps_prefixes = keeps_prefixes

    def prepare(self, call: Call, vocabulary: Vocabulary) -> list[Group]:
        """The groups of a call, in the order of their first prompts.

        Raises InputTooLongError if a prompt leaves no room in the model's context, InvalidImageError if the image
        processor refuses an image, InvalidComparisonError if a text holds the model's image placeholder.
        """
        members: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
        for index, prompt in enumerate(call.prompts):
            key = (prompt.system, tuple(id(image) for image in prompt.images), prompt.shared)
            members.setdefault(key, []).append(index)
        return [group for indices in members.values() for group in self._prepare_group(call, indices, vocabulary)]

    def _prepare_group(self, call: Call, indices: list[int], vocabulary: Vocabulary) -> list[Group]:
        pixel_values, grids = read_images(self._processor, call.prompts[indices[0]].images)
        rows_by_ids: dict[tuple[int, ...], list[int]] = {}
        for index in indices:
            asked = tokenize_prompt(self._processor, self._model, call.prompts[index], grids=grids)
            rows_by_ids.setdefault(tuple(asked), []).append(index)

        prompts: list[PreparedPrompt] = []
        # Sorted, so that the same texts are computed in the same order, whatever order they were asked in.
        for ids, row_indices in sorted(rows_by_ids.items()):
            if len(ids) >= self.max_context:
                raise InputTooLongError(
                    f"The prompt is {len(ids):,} tokens long, image tokens included; the model's context is "
                    f"{self.max_context:,} tokens, and the answer needs one. Shorten the texts or shrink the image."
                )
            positions = find_positions(self._model, ids, grids)
            rows = [
                Row(
                    call,
                    index,
                    vocabulary=vocabulary,
                    num_prompt_tokens=len(ids),
                    position=int(positions.max()),
                    max_tokens=min(call.sampling.max_tokens, self.max_context - len(ids)),
                )
                for index in row_indices
            ]
            prompts.append(PreparedPrompt(ids=list(ids), positions=positions, rows=rows))
        return [
            self._share(call, part, pixel_values, grids) for part in _cut(prompts, max_tokens=self._max_batch_tokens)
        ]

    def _share(
        self, call: Call, prompts: list[PreparedPrompt], pixel_values: Tensor | None, grids: Tensor | None
    ) -> Group:
        first = prompts[0].ids
        num_head = first.index(self._image_token_id) if self._image_token_id in first else 0
        # One prompt alone is computed in one piece behind its head; every prompt keeps a token to be computed last.
        num_shared = num_head if len(prompts) == 1 else count_shared([prompt.ids for prompt in prompts])
        is_worth_keeping = self._keeps_prefixes and num_shared > num_head and grids is not None
        return Group(
            call=call,
            prompts=prompts,
            num_head=min(num_head, num_shared),
            num_shared=num_shared,
            pixel_values=pixel_values,
            grids=grids,
            end_of_images=_end_of_images(first, self._image_token_id),
            prefix_key=prefix_key(call.prompts[prompts[0].rows[0].index], call.adapter) if is_worth_keeping else None,
        )


def read_images(processor: Processor, images: Sequence[Image]) -> tuple[Tensor | None, Tensor | None]:
    """Pixel values (patches, values of a patch) and grids (images, 3), in patches; None for no images.

    Raises InvalidImageError if the image processor refuses one.
    """
    if not images:
        return None, None
    try:
        features = processor.image_processor(images=list(images), return_tensors="pt")
    except ValueError as error:
        sizes = ", ".join(f"{image.width}x{image.height}" for image in images)
        raise InvalidImageError(
            f"The model's image processor refuses an image of this call (pixels: {sizes}). It may be too narrow: "
            "send one whose sides differ by a factor of less than 200.",
            param="images",
        ) from error
    return features["pixel_values"], features["image_grid_thw"]


def tokenize_prompt(
    processor: Processor, model: VisionLanguageModel, prompt: Prompt, *, grids: Tensor | None
) -> list[int]:
    """Token ids of a prompt with one placeholder per image token. grids: of `read_images`.

    Raises InvalidComparisonError if a text holds the model's image placeholder.
    """
    image_token_id: int = model.config.image_token_id
    merge_area: int = model.config.vision_config.spatial_merge_size**2
    ids = processor.tokenizer(render_text(processor, prompt), add_special_tokens=False)["input_ids"]
    counts = [] if grids is None else (grids.prod(-1) // merge_area).tolist()
    if ids.count(image_token_id) != len(counts):
        raise InvalidComparisonError(
            f"The prompt has {ids.count(image_token_id)} image placeholders for {len(counts)} images. Remove "
            "the model's image placeholder from the texts."
        )
    waiting = iter(counts)
    expanded: list[int] = []
    for token in ids:
        expanded += [token] * next(waiting) if token == image_token_id else [token]
    return expanded


def count_shared(rows: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all rows have in common, leaving every row at least one of its own."""
    shortest, low, high = min(map(len, rows)), min(map(tuple, rows)), max(map(tuple, rows))
    limit = min(shortest - 1, len(low), len(high))
    return next((index for index in range(limit) if low[index] != high[index]), limit)


def _end_of_images(ids: Sequence[int], image_token_id: int) -> int:
    return next((len(ids) - index for index, token in enumerate(reversed(ids)) if token == image_token_id), 0)


def _cut(prompts: list[PreparedPrompt], *, max_tokens: int) -> list[list[PreparedPrompt]]:
    """Parts whose rows, each as long as the longest may become, fit together; at least one row a part."""
    longest = max(row.num_reserved_tokens for prompt in prompts for row in prompt.rows)
    max_rows = max(1, max_tokens // longest)
    parts: list[list[PreparedPrompt]] = []
    room = 0
    for prompt in prompts:
        rows = prompt.rows
        while rows:
            if room == 0:
                parts.append([])
                room = max_rows
            taken, rows = rows[:room], rows[room:]
            parts[-1].append(PreparedPrompt(ids=prompt.ids, positions=prompt.positions, rows=taken))
            room -= len(taken)
    return parts
