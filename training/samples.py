"""What a judge is trained on: a comparison in one order, and the critique with its verdict that should follow."""

import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Sampler

from genrm.engines.architecture import Processor, VisionLanguageModel
from genrm.engines.contract import Prompt
from genrm.engines.forward import find_positions
from genrm.engines.preparation import count_shared, read_images, tokenize_prompt
from genrm.errors import InvalidComparisonError
from genrm.prompts import render_prompt
from genrm.types import Comparison, Response, Sighting
from training.packing import Row, pack
from training.sources import SOURCE_ROW, Pair, RowError, Rows, Skipped

_PAIRS_AT_ONCE = 64
"""Whose images `Collator.drop_unusable` holds."""


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
    """Packs samples into one sequence, for models of the Qwen2-VL family (`training.packing`).

    Neighbours about the same images share what their prompts have in common. A sample is rendered exactly as the engine
    renders a prompt. model: finds positions, and runs the batches with packed attention. max_tokens: of a sample. What
    cannot be learned from raises: RowError a longer sample, a text that holds the image placeholder, or an image that
    cannot be read; InvalidComparisonError an image that the processor refuses. `drop_unusable` finds it beforehand.
    """

    def __init__(self, processor: Processor, model: VisionLanguageModel, *, max_tokens: int) -> None:
        self._processor, self._tokenizer = processor, processor.tokenizer
        self._model = model
        self._image_token_id: int = model.config.image_token_id
        self._max_tokens = max_tokens
        self._end = str(self._tokenizer.eos_token)

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """What `collate` gives for the samples, and their weights, (N,). The images of a pair are read once."""
        loaded = {key: pair.load() for key, pair in {id(sample.pair): sample.pair for sample in samples}.items()}
        texts = [
            (render_prompt(loaded[id(s.pair)], first=s.first, mode="critique", sightings=s.sightings), s.text)
            for s in samples
        ]
        return self.collate(texts) | {"weights": torch.tensor([sample.weight for sample in samples])}

    def drop_unusable(self, samples: Sequence[Sample]) -> Rows[Sample]:
        """The samples that can be learned from, and why the others cannot. The images of a pair are read once."""
        pairs = list({id(sample.pair): sample.pair for sample in samples}.values())
        by_pair: dict[int, list[int]] = {}
        for number, sample in enumerate(samples):
            by_pair.setdefault(id(sample.pair), []).append(number)
        faults: dict[int, str | None] = {}
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for start in range(0, len(pairs), _PAIRS_AT_ONCE):
                part = pairs[start : start + _PAIRS_AT_ONCE]
                for pair, read in zip(part, pool.map(self._read_pair, part), strict=True):
                    for number in by_pair[id(pair)]:
                        faults[number] = read if isinstance(read, str) else self._find_fault(samples[number], *read)
        return Rows(
            rows=[sample for number, sample in enumerate(samples) if faults[number] is None],
            skipped=[Skipped(id=samples[i].pair.id, reason=faults[i] or "") for i in sorted(faults) if faults[i]],
        )

    def collate(self, texts: Sequence[tuple[Prompt, str]]) -> dict[str, Any]:
        """A pass over N texts behind their prompts, T tokens in all, of which K belong to the texts.

        input_ids (1, T), position_ids (3, 1, T), pixel_values, image_grid_thw and blocks are the model's;
        logits_to_keep (K,): positions that predict a token of a text; targets (K,): these tokens; owners (K,): which
        text each belongs to.
        """
        rows, features = [], []
        for members in _runs_of_same_images([prompt for prompt, _ in texts]):
            pixel_values, grids = read_images(self._processor, texts[members[0]][0].images)
            features.append((pixel_values, grids))
            asked = [tokenize_prompt(self._processor, self._model, texts[m][0], grids=grids) for m in members]
            answers = [self._tokenize(texts[member][1] + self._end) for member in members]
            for prompt, answer in zip(asked, answers, strict=True):
                self._check(prompt, answer)
            num_shared = count_shared(asked)
            prefix = asked[0][:num_shared]
            segments = [(prompt[num_shared:], answer) for prompt, answer in zip(asked, answers, strict=True)]
            positions = find_positions(self._model, prefix, grids)
            rows.append(Row(prefix=prefix, prefix_positions=positions, segments=segments))
        packed = pack(rows)
        return {
            "input_ids": packed.ids[None],
            "position_ids": packed.positions[:, None],
            "pixel_values": torch.cat([values for values, _ in features if values is not None]),
            "image_grid_thw": torch.cat([grids for _, grids in features if grids is not None]),
            "blocks": packed.blocks,
            "logits_to_keep": packed.predictors,
            "targets": packed.targets,
            "owners": packed.owners,
        }

    def _read_pair(self, pair: Pair) -> tuple[Comparison, Tensor | None] | str:
        """A pair with the grids of its images, or why there are none."""
        try:
            comparison = pair.load()
            return comparison, read_images(self._processor, comparison.images)[1]
        except (RowError, InvalidComparisonError) as error:
            return str(error)

    def _find_fault(self, sample: Sample, comparison: Comparison, grids: Tensor | None) -> str | None:
        prompt = render_prompt(comparison, first=sample.first, mode="critique", sightings=sample.sightings)
        try:
            asked = tokenize_prompt(self._processor, self._model, prompt, grids=grids)
            self._check(asked, self._tokenize(sample.text + self._end))
        except (RowError, InvalidComparisonError) as error:
            return str(error)
        return None

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _check(self, prompt: list[int], answer: list[int]) -> None:
        if len(prompt) + len(answer) > self._max_tokens:
            raise RowError(
                f"A sample has {len(prompt) + len(answer)} tokens; the limit is {self._max_tokens}. Raise max_tokens, "
                "or scale its images down."
            )
        if self._image_token_id in answer:
            raise RowError(
                f"The text {self._tokenizer.decode(answer)!r} holds the model's image placeholder. Remove it."
            )


def _runs_of_same_images(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Numbers of neighbouring prompts that have the same system text and equal images."""
    runs: list[list[int]] = []
    for number, prompt in enumerate(prompts):
        before = prompts[number - 1] if number else None
        if before is not None and before.system == prompt.system and _are_equal(before.images, prompt.images):
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def _are_equal(one: Sequence[Image], other: Sequence[Image]) -> bool:
    return len(one) == len(other) and all(
        a is b or (a.size == b.size and a.mode == b.mode and a.tobytes() == b.tobytes())
        for a, b in zip(one, other, strict=True)
    )


class ImageSampler(Sampler[int]):
    """Samples in a random order in which those of one source row, and so of one image, are neighbours.

    Another order every epoch (`set_epoch`); the same one for the same seed.
    """

    def __init__(self, samples: Sequence[Sample], *, seed: int) -> None:
        groups: dict[str, list[int]] = {}
        for number, sample in enumerate(samples):
            groups.setdefault(str(sample.pair.record.get(SOURCE_ROW) or sample.pair.id), []).append(number)
        self._groups, self._size, self._seed, self._epoch = list(groups.values()), len(samples), seed, 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed} {self._epoch}")
        groups = rng.sample(self._groups, len(self._groups))
        return (number for group in groups for number in rng.sample(group, len(group)))

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch, counted from 0; the Trainer says so before each."""
        self._epoch = epoch


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
