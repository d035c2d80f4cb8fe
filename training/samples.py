"""What a judge is trained on: a comparison in one order, and the critique with its verdict that should follow."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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


class Collator:
    """Makes a padded batch of samples, for models of the Qwen2-VL family.

    Padded on the left, so that all answers end at the last position and logits before them need not be computed. A
    sample is rendered exactly as the engine renders a prompt. config: of the model. max_tokens: longer samples raise
    ValueError.
    """

    def __init__(self, processor: Processor, config: Any, *, max_tokens: int) -> None:  # noqa: ANN401 - of any model
        self._processor, self._tokenizer = processor, processor.tokenizer
        self._image_token_id: int = config.image_token_id
        self._merge_area: int = config.vision_config.spatial_merge_size**2
        self._max_tokens = max_tokens
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


def to_sample(pair: Pair, row: Mapping[str, Any]) -> Sample:
    """A stored critique as a sample."""
    return Sample(
        pair=pair,
        first=row["first"],
        text=row["text"],
        weight=row["weight"],
        sightings=sightings_of(pair) if row["with_evidence"] else (),
    )


def shows_evidence(pair_id: str, share: float, *, seed: int) -> bool:
    """Whether the samples of a pair show the judge what experts found: of so many pairs, always the same ones."""
    return random.Random(f"{seed} {pair_id}").random() < share


def sightings_of(pair: Pair) -> tuple[Sighting, ...]:
    """What experts found in the pair's image, as `train preferences` stored it; none in other sources."""
    stored = pair.record.get("sightings")
    items = json.loads(stored) if isinstance(stored, str) and stored else []
    return tuple(Sighting(phrase=item["phrase"], places=tuple(item["places"])) for item in items)
