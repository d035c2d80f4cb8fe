"""Grounding DINO: finds whatever a phrase names, through transformers' own port of the published weights.

Any folder or hub id of the architecture, e.g. `IDEA-Research/grounding-dino-base` (arXiv:2303.05499). Many phrases are
asked for in several prompts within the model's text limit, and several images in one batch.

A folder may hold `known_phrases.json`, a list of strings: then the model was trained on these names alone, and not
finding any other proves nothing (closed vocabulary). The published models have no such file.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from PIL.Image import new as new_image
from torch import Tensor

from experts.boxes import clean_detections, suppress_overlaps
from experts.contract import ExpertError, Inquiry
from experts.loading import load_detector
from experts.phrases import (
    MAX_PHRASE_CHARACTERS,
    clean_phrase,
    join_phrases,
    map_phrase_tokens,
    score_phrases,
    split_phrases,
)
from experts.reliability import Reliability, read_reliability
from genrm.engines.model_files import display_name
from genrm.errors import ModelLoadError
from genrm.types import Detection

KNOWN_PHRASES_FILE = "known_phrases.json"
_MOST_ASPECT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundingOptions:
    """How findings are chosen. The defaults of the thresholds are those of the published models' own demo."""

    box_threshold: float = 0.35
    """A box counts if its best token of the phrase scores at least this, in [0, 1]."""
    text_threshold: float = 0.25
    """And if the phrase's tokens score at least this on average: "hot dog" is not found because of "dog" alone."""
    nms_iou: float = 0.7
    """Of two boxes of one phrase that overlap more than this, the better one is kept; 1 keeps both."""
    batch_size: int = 8
    """Prompts computed together."""


_DEFAULT_OPTIONS = GroundingOptions()


class GroundingDino:
    """An expert on a loaded model. Raises nothing at construction; `load` reads a model from disk or hub.

    model, processor: transformers' `GroundingDinoForObjectDetection` and `GroundingDinoProcessor`.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers' classes answer Any for all that is used here
        processor: Any,  # noqa: ANN401
        *,
        model_id: str,
        name: str = "grounding-dino",
        vocabulary: frozenset[str] | None = None,
        reliability: Reliability | None = None,
        options: GroundingOptions = _DEFAULT_OPTIONS,
    ) -> None:
        self.name, self.model, self.vocabulary, self.options = name, model_id, vocabulary, options
        self.reliability = reliability
        self.batch_size = options.batch_size
        self.raw_model, self._processor = model.eval(), processor
        self._tokenizer = processor.tokenizer
        self._limit = min(model.config.max_text_len, self._tokenizer.model_max_length)
        marks = (self._tokenizer.cls_token, self._tokenizer.sep_token, self._tokenizer.pad_token, ".", "?")
        self._separators = self._tokenizer.convert_tokens_to_ids(list(marks))

    @classmethod
    def load(
        cls,
        model_id: str,
        *,
        name: str = "grounding-dino",
        device: str = "auto",
        dtype: str = "auto",
        options: GroundingOptions = _DEFAULT_OPTIONS,
    ) -> "GroundingDino":
        """Load a folder or hub id. device, dtype: as for the judge. Raises ModelLoadError, naming file and remedy."""
        model, processor = load_detector(model_id, kind="grounding-dino", device=device, dtype=dtype)
        return cls(
            model,
            processor,
            model_id=display_name(model_id),
            name=name,
            vocabulary=_read_vocabulary(model_id),
            reliability=read_reliability(model_id),
            options=options,
        )

    def with_options(self, options: GroundingOptions) -> "GroundingDino":
        """An expert on the same loaded model with other options."""
        return GroundingDino(
            self.raw_model,
            self._processor,
            model_id=self.model,
            name=self.name,
            vocabulary=self.vocabulary,
            reliability=self.reliability,
            options=options,
        )

    def covers(self, phrase: str) -> bool:
        """Whether the model knows the phrase (closed vocabulary), or can read it at all: it fits the text limit and is
        not spelled in characters that the tokenizer lacks.
        """
        cleaned = clean_phrase(phrase)
        if self.vocabulary is not None:
            return cleaned in self.vocabulary
        if not cleaned or len(cleaned) > MAX_PHRASE_CHARACTERS:
            return False
        ids = self._tokenizer(cleaned, add_special_tokens=False).input_ids
        return self._tokenizer.unk_token_id not in ids and len(ids) + 3 <= self._limit

    @torch.inference_mode()
    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """What was found, per inquiry, best score first. Raises ExpertError if the model fails or gives no numbers."""
        found: list[list[Detection]] = [[] for _ in inquiries]
        for batch in self._batches(inquiries):
            images = [inquiries[index].image for index, _ in batch]
            for (index, _), detections in zip(batch, self._detect_batch(images, [g for _, g in batch]), strict=True):
                found[index] += detections
        return [suppress_overlaps(each, iou_threshold=self.options.nms_iou) for each in found]

    def _batches(self, inquiries: Sequence[Inquiry]) -> Iterator[list[tuple[int, list[str]]]]:
        """Prompts with the number of their inquiry, together with others about images of the same size: what is found
        in an image must not depend on how much padding another one brings.
        """
        by_size: dict[tuple[int, int], list[tuple[int, list[str]]]] = {}
        for index, inquiry in enumerate(inquiries):
            by_size.setdefault(inquiry.image.size, []).extend((index, group) for group in self._prompts(inquiry))
        for prompts in by_size.values():
            for start in range(0, len(prompts), self.options.batch_size):
                yield prompts[start : start + self.options.batch_size]

    def _prompts(self, inquiry: Inquiry) -> Iterator[list[str]]:
        lengths = [
            len(self._tokenizer(join_phrases([phrase]), add_special_tokens=False).input_ids)
            for phrase in inquiry.phrases
        ]
        return split_phrases(inquiry.phrases, lengths, limit=self._limit)

    def _detect_batch(self, images: list[Image], groups: list[list[str]]) -> list[list[Detection]]:
        inputs = self._processor(
            images=[_widen(image) for image in images],
            text=[join_phrases(group) for group in groups],
            padding=True,
            return_tensors="pt",
        ).to(self.raw_model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.raw_model.dtype)
        out = self.raw_model(**inputs)
        return [
            self._read(logits.float(), boxes.float(), ids, group, image)
            for logits, boxes, ids, group, image in zip(
                out.logits, out.pred_boxes, inputs["input_ids"], groups, images, strict=True
            )
        ]

    def _read(
        self, logits_QT: Tensor, boxes_Q4: Tensor, ids_S: Tensor, phrases: list[str], image: Image
    ) -> list[Detection]:
        if bool(logits_QT.isnan().any() | boxes_Q4.isnan().any()):
            raise ExpertError(f"{self.name} ({self.model}) gave scores that are no numbers. Try dtype float32.")
        best_QP, mean_QP = score_phrases(logits_QT, map_phrase_tokens(ids_S, self._separators))
        kept = (best_QP >= self.options.box_threshold) & (mean_QP >= self.options.text_threshold)
        centre, size = boxes_Q4.split(2, dim=-1)
        scale = torch.tensor(_widen(image).size * 2, device=boxes_Q4.device)
        corners = (torch.cat((centre - size / 2, centre + size / 2), dim=-1) * scale).tolist()
        detections = [
            Detection(
                phrase=phrases[phrase],
                score=float(best_QP[query, phrase]),
                box=tuple(corners[query]),
                expert=self.name,
                model=self.model,
            )
            for query, phrase in kept.nonzero().tolist()
        ]
        return clean_detections(detections, width=image.width, height=image.height)


def _widen(image: Image) -> Image:
    """The image, or one with a black margin at its right or lower side if it is a sliver, which would be scaled down to
    fewer positions than the model has queries.
    """
    size = tuple(max(side, math.ceil(max(image.size) / _MOST_ASPECT)) for side in image.size)
    if size == image.size:
        return image
    wide = new_image("RGB", (size[0], size[1]))
    wide.paste(image)
    return wide


def _read_vocabulary(model_id: str) -> frozenset[str] | None:
    file = Path(model_id).expanduser() / KNOWN_PHRASES_FILE
    if not file.is_file():
        return None
    try:
        phrases = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        phrases = None
    if not (isinstance(phrases, list) and phrases and all(isinstance(phrase, str) for phrase in phrases)):
        raise ModelLoadError(f"{file} must hold a list of strings, the names that the model knows. Correct it.")
    return frozenset(map(clean_phrase, phrases))
