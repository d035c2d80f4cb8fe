"""Detectron2's models as an expert: any config of its model zoo, or a config and weights of your own.

Needs the library `detectron2`, which is built from its source: `pip install 'vl-genrm[detectron2]'`. It is imported
only when such an expert is loaded. Phrases outside the model's names are unchecked, never absent.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experts.boxes import clean_detections, suppress_overlaps
from experts.contract import ExpertError, Inquiry
from experts.names import NameMap
from experts.reliability import Reliability
from genrm.errors import ModelLoadError
from genrm.types import Detection


class Detectron2Expert:
    """An expert on a built Detectron2 model.

    model: takes Detectron2's list of dictionaries and answers `instances`. names: of the classes, in the model's order.
    resize: shortest and longest side that images are scaled to, pixels. blue_first: the model takes BGR, Detectron2's
    default. threshold: least score that counts, in [0, 1].
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a library without types
        *,
        model_id: str,
        names: Sequence[str],
        name: str = "detectron2",
        threshold: float = 0.5,
        nms_iou: float = 0.7,
        resize: tuple[int, int] = (800, 1333),
        blue_first: bool = True,
        batch_size: int = 4,
        reliability: Reliability | None = None,
        synonyms: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.model, self.batch_size = name, model_id, batch_size
        self._model, self._class_names = model.eval(), tuple(names)
        self.reliability = reliability
        self._threshold, self._nms_iou, self._resize, self._blue_first = threshold, nms_iou, resize, blue_first
        self._names = NameMap(names, synonyms=synonyms)
        self.vocabulary: frozenset[str] | None = self._names.phrases

    @classmethod
    def load(
        cls,
        config: str,
        *,
        weights: str | None = None,
        names: Sequence[str] | None = None,
        name: str = "detectron2",
        device: str = "auto",
        threshold: float = 0.5,
    ) -> "Detectron2Expert":
        """Build a model. config: a zoo name such as `COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml`, or a YAML file.
        weights: file or URL; None takes the config's own (for a zoo name: the published ones, which are downloaded).
        names: class names; None takes the metadata of the config's training data set.

        Raises ModelLoadError if the library is not installed, or config or weights cannot be read.
        """
        try:
            from detectron2 import model_zoo
            from detectron2.checkpoint import DetectionCheckpointer
            from detectron2.config import get_cfg
            from detectron2.data import MetadataCatalog
            from detectron2.modeling import build_model
        except ImportError as error:
            raise ModelLoadError(
                "The expert detectron2 needs the library of that name, which is not installed or does not import "
                "here. Install 'vl-genrm[detectron2]' (built from source; needs a C++ compiler), or use an expert of "
                "another kind: grounding-dino or detector."
            ) from error
        is_file = Path(config).is_file()
        try:
            cfg = get_cfg()
            cfg.merge_from_file(config if is_file else model_zoo.get_config_file(config))
            if weights is not None or not is_file:
                cfg.MODEL.WEIGHTS = weights if weights is not None else model_zoo.get_checkpoint_url(config)
            cfg.MODEL.DEVICE = (
                "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
            )
            model = build_model(cfg)
            if cfg.MODEL.WEIGHTS:
                DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        except Exception as error:  # a library without error types of its own
            raise ModelLoadError(
                f"Detectron2 cannot build {config!r} with weights {weights or 'of the config'} "
                f"({type(error).__name__}). Check both; a zoo name looks like "
                "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml."
            ) from error
        if names is None:
            names = (
                getattr(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]), "thing_classes", None)
                if cfg.DATASETS.TRAIN
                else None
            )
        if not names:
            raise ModelLoadError(f"The class names of {config!r} are not known. Give them as names.")
        return cls(
            model,
            model_id=config,
            names=names,
            name=name,
            threshold=threshold,
            resize=(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
            blue_first=cfg.INPUT.FORMAT == "BGR",
        )

    def covers(self, phrase: str) -> bool:
        """Whether one of the model's names stands for the phrase."""
        return bool(self._names.find(phrase))

    @torch.inference_mode()
    def detect(self, inquiries: Sequence[Inquiry]) -> list[tuple[Detection, ...]]:
        """What was found, per inquiry, best score first. Raises ExpertError if the model gives no numbers."""
        outputs = self._model([self._prepare(inquiry) for inquiry in inquiries])
        return [self._read(inquiry, out["instances"]) for inquiry, out in zip(inquiries, outputs, strict=True)]

    def _prepare(self, inquiry: Inquiry) -> dict[str, object]:
        image = inquiry.image
        shortest, longest = self._resize
        scale = min(shortest / min(image.size), longest / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        pixels = np.asarray(image.resize(size), dtype=np.float32)
        if self._blue_first:
            pixels = pixels[:, :, ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return {"image": tensor, "height": image.height, "width": image.width}

    def _read(self, inquiry: Inquiry, instances: Any) -> tuple[Detection, ...]:  # noqa: ANN401 - as above
        phrases = {name: phrase for phrase in inquiry.phrases for name in self._names.find(phrase)}
        boxes, scores = instances.pred_boxes.tensor.float().cpu(), instances.scores.float().cpu()
        if bool(boxes.isnan().any() | scores.isnan().any()):
            raise ExpertError(f"{self.name} ({self.model}) gave scores that are no numbers.")
        found = []
        for label, score, box in zip(instances.pred_classes.tolist(), scores.tolist(), boxes.tolist(), strict=True):
            phrase = phrases.get(self._class_names[label])
            if phrase is not None and score >= self._threshold:
                found.append(Detection(phrase=phrase, score=score, box=tuple(box), expert=self.name, model=self.model))
        cleaned = clean_detections(found, width=inquiry.image.width, height=inquiry.image.height)
        return suppress_overlaps(cleaned, iou_threshold=self._nms_iou)
