"""What a judge is trained on: a comparison in one order, and the critique with its verdict that should follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from genrm.engines.architecture import Processor
from genrm.engines.contract import Prompt
from genrm.engines.preparation import render_text
from genrm.prompts import render_prompt
from genrm.types import Response, Sighting
from training.losses import IGNORED
from training.sources import Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One prompt and what should follow it.

    first: the response that stands first. text: critique and verdict line. sightings: what the prompt says that experts
    found; none for a prompt without evidence. weight: w of `training.losses`.
    """

    pair: Pair
    first: Response
    text: str
    sightings: tuple[Sighting, ...] = ()
    weight: float = 1.0


class Samples(Dataset[Sample]):
    """Samples as torch's loaders take them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]


class Collator:
    """Makes a padded batch of samples, for models of the Qwen2-VL family.

    Padded on the left, so that all answers end at the last position and logits before them need not be computed. A
    sample is rendered exactly as the engine renders a prompt. max_tokens: longer samples raise ValueError.
    """

    def __init__(self, processor: Processor, *, image_token_id: int, merge_area: int, max_tokens: int) -> None:
        self._processor, self._tokenizer = processor, processor.tokenizer
        self._image_token_id, self._merge_area, self._max_tokens = image_token_id, merge_area, max_tokens
        self._end: str = self._tokenizer.eos_token

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor | int]:
        """What `collate` gives for the samples, and their weights, (B,)."""
        texts = [
            (render_prompt(s.pair.load(), first=s.first, mode="critique", sightings=s.sightings), s.text)
            for s in samples
        ]
        return self.collate(texts) | {"weights": torch.tensor([sample.weight for sample in samples])}

    def collate(self, texts: Sequence[tuple[Prompt, str]]) -> dict[str, Tensor | int]:
        """input_ids, attention_mask, labels and mm_token_type_ids (B, S); pixel_values, image_grid_thw;
        logits_to_keep: positions from the end that predict a token of a text, or follow it.

        texts: prompts and what follows each.
        """
        rows: list[tuple[list[int], list[int]]] = []
        features: list[Any] = []
        for prompt, text in texts:
            features.append(self._processor.image_processor(images=list(prompt.images), return_tensors="pt"))
            counts = (features[-1]["image_grid_thw"].prod(-1) // self._merge_area).tolist()
            asked = self._expand(self._tokenize(render_text(self._processor, prompt)), counts)
            answer = self._tokenize(text + self._end)
            if len(asked) + len(answer) > self._max_tokens:
                raise ValueError(
                    f"A sample has {len(asked) + len(answer)} tokens; the limit is {self._max_tokens}. Raise "
                    "max_tokens, or scale its images down."
                )
            rows.append((asked, answer))
        return self._pad(rows) | {
            "pixel_values": torch.cat([part["pixel_values"] for part in features]),
            "image_grid_thw": torch.cat([part["image_grid_thw"] for part in features]),
            "logits_to_keep": max(len(answer) for _, answer in rows) + 1,
        }

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _expand(self, ids: list[int], counts: list[int]) -> list[int]:
        """One placeholder per image token."""
        waiting = iter(counts)
        return [t for token in ids for t in [token] * (next(waiting) if token == self._image_token_id else 1)]

    def _pad(self, rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, Tensor | int]:
        size = max(len(asked) + len(answer) for asked, answer in rows)
        pad_id = self._tokenizer.pad_token_id
        ids, labels, mask = [], [], []
        for asked, answer in rows:
            room = size - len(asked) - len(answer)
            ids.append([pad_id] * room + asked + answer)
            labels.append([IGNORED] * (room + len(asked)) + answer)
            mask.append([0] * room + [1] * (size - room))
        input_ids = torch.tensor(ids)
        return {
            "input_ids": input_ids,
            "attention_mask": torch.tensor(mask),
            "labels": torch.tensor(labels),
            "mm_token_type_ids": (input_ids == self._image_token_id).int(),
        }
