"""Detectors with a fixed list of names, through transformers: RT-DETRv2 and D-FINE.

More accurate on their names than an open-vocabulary detector, and silent about all others: a phrase outside their
vocabulary is unchecked, never absent. Any folder or hub id, e.g. `PekingU/rtdetr_v2_r50vd` (arXiv:2407.17140) or
`ustc-community/dfine-medium-coco` (arXiv:2410.13842).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from experts.boxes import clean_detections, suppress_overlaps
from experts.contract import ExpertError, Inquiry
from experts.loading import load_detector
from experts.names import NameMap
from experts.reliability import Reliability, read_reliability
from genrm.engines.model_files import display_name
from genrm.types import Detection


class ClosedDetector:
    """An expert on a loaded detection model of transformers.

    model, processor: what `AutoModelForObjectDetection` and `AutoImageProcessor` load. threshold: least score that
    counts, in [0, 1]. nms_iou: of two boxes of one name that overlap more, the better is kept. synonyms: phrases and
    the model's name that each stands for, beside the lexicon's.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers' classes answer Any for all that is used here
        processor: Any,  # noqa: ANN401
        *,
        model_id: str,
        name: str = "detector",
        threshold: float = 0.5,
        nms_iou: float = 0.7,
        batch_size: int = 8,
        reliability: Reliability | None = None,
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.model, self.batch_size = name, model_id, batch_size
        self.raw_model, self.raw_processor = model.eval(), processor
        self.reliability = reliability
        self._threshold, self._nms_iou = threshold, nms_iou
        self._names = NameMap(model.config.id2label.values(), synonyms=synonyms)
        self.vocabulary: frozenset[str] | None = self._names.phrases

    @classmethod
    def load(
        cls, model_id: str, *, name: str = "detector", device: str = "auto", dtype: str = "auto", threshold: float = 0.5
    ) -> "ClosedDetector":
        """Load a folder or hub id. device, dtype: as for the judge. Raises ModelLoadError, naming file and remedy."""
        model, processor = load_detector(model_id, kind="closed", device=device, dtype=dtype)
        return cls(
            model,
            processor,
            model_id=display_name(model_id),
            name=name,
            threshold=threshold,
            reliability=read_reliability(model_id),
        )

    def covers(self, phrase: str) -> bool:
        """Whether one of the model's names stands for the phrase."""
        return bool(self._names.find(phrase))

    @torch.inference_mode()
    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """What was found, per inquiry, best score first. Raises ExpertError if the model gives no numbers."""
        inputs = self.raw_processor(images=[i.image for i in inquiries], return_tensors="pt").to(self.raw_model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.raw_model.dtype)
        out = self.raw_model(**inputs)
        if bool(out.logits.isnan().any() | out.pred_boxes.isnan().any()):
            raise ExpertError(f"{self.name} ({self.model}) gave scores that are no numbers. Try dtype float32.")
        out.logits, out.pred_boxes = out.logits.float(), out.pred_boxes.float()
        sizes = [(inquiry.image.height, inquiry.image.width) for inquiry in inquiries]
        results = self.raw_processor.post_process_object_detection(out, threshold=self._threshold, target_sizes=sizes)
        return [self._read(inquiry, result) for inquiry, result in zip(inquiries, results, strict=True)]

    def _read(self, inquiry: Inquiry, result: Mapping[str, torch.Tensor]) -> tuple[Detection, ...]:
        phrases = {name: phrase for phrase in inquiry.phrases for name in self._names.find(phrase)}
        found = []
        for label, score, box in zip(
            result["labels"].tolist(), result["scores"].tolist(), result["boxes"].tolist(), strict=True
        ):
            phrase = phrases.get(self.raw_model.config.id2label[label])
            if phrase is not None:
                found.append(Detection(phrase=phrase, score=score, box=tuple(box), expert=self.name, model=self.model))
        cleaned = clean_detections(found, width=inquiry.image.width, height=inquiry.image.height)
        return suppress_overlaps(cleaned, iou_threshold=self._nms_iou)
