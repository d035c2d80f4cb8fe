"""Boxes and scores as detectors give them, made fit to be shown and counted."""

import math
from collections.abc import Iterable

from genrm.types import Detection


def clean_detections(detections: Iterable[Detection], *, width: int, height: int) -> list[Detection]:
    """Detections with their boxes cut to the image; those without an area or with a box that is no number are dropped.

    width, height: of the image, pixels.
    """
    kept = []
    for detection in detections:
        if not all(map(math.isfinite, detection.box)):
            continue
        x1, y1, x2, y2 = detection.box
        box = (min(max(x1, 0.0), width), min(max(y1, 0.0), height), min(max(x2, 0.0), width), min(max(y2, 0.0), height))
        if box[2] > box[0] and box[3] > box[1]:
            kept.append(detection.model_copy(update={"box": box}))
    return kept


def suppress_overlaps(detections: list[Detection], *, iou_threshold: float) -> tuple[Detection, ...]:
    """Non-maximum suppression within each phrase, best score first. iou_threshold: in (0, 1]; 1 keeps all."""
    if not detections:
        return ()
    import torch  # whoever only cleans detections needs neither
    from torchvision.ops import batched_nms

    phrases = list(dict.fromkeys(d.phrase for d in detections))
    groups = torch.tensor([phrases.index(d.phrase) for d in detections])
    boxes, scores = torch.tensor([d.box for d in detections]), torch.tensor([d.score for d in detections])
    return tuple(detections[int(i)] for i in batched_nms(boxes, scores, groups, iou_threshold))
