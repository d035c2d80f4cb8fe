"""Measures the pocket expert while it trains: objects found, absent ones not found, and average precision."""

import numpy as np
from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

from experts.contract import Inquiry
from experts.grounding_dino import GroundingDino, GroundingOptions
from genrm.types import Detection
from pocket.drawing import draw_scene
from pocket.scenes import Scene, Split, sample_scene

NUM_ABSENT = 6


def probe_expert(
    model: GroundingDinoForObjectDetection, processor: GroundingDinoProcessor, *, num_scenes: int
) -> dict[str, float]:
    """Shares in [0, 1] over dev scenes, at box threshold 0.3: `recall` of objects, `false accepted` of absent names,
    and `AP50` pooled over names (`pocket.expert_bench` measures it as COCO does).
    """
    expert = GroundingDino(
        model,
        processor,
        model_id="pocket",
        options=GroundingOptions(box_threshold=0.05, text_threshold=0.05, batch_size=16),
    )
    rng = np.random.default_rng(0)
    scenes = [sample_scene(Split.DEV, index) for index in range(num_scenes)]
    absent = [[s.absent[int(i)].name for i in rng.choice(len(s.absent), NUM_ABSENT, replace=False)] for s in scenes]
    names = [
        tuple(dict.fromkeys(o.kind.name for o in s.objects)) + tuple(a) for s, a in zip(scenes, absent, strict=True)
    ]
    found = expert.detect([Inquiry(image=draw_scene(s), phrases=n) for s, n in zip(scenes, names, strict=True)])
    hits: list[tuple[float, bool]] = []
    for scene, detections in zip(scenes, found, strict=True):
        hits += match_detections(scene, detections)
    total = sum(len(s.objects) for s in scenes)
    accepted = [
        any(d.score >= 0.3 and d.phrase == name for d in detections)
        for detections, wrong in zip(found, absent, strict=True)
        for name in wrong
    ]
    return {
        "recall": sum(good for score, good in hits if score >= 0.3) / total,
        "false accepted": sum(accepted) / len(accepted),
        "AP50": average_precision(hits, total),
    }


def match_detections(scene: Scene, detections: tuple[Detection, ...]) -> list[tuple[float, bool]]:
    """Score of each detection, and whether it is the first to cover, with IoU ≥ 0.5, an object of its name."""
    free = list(scene.objects)
    result = []
    for detection in sorted(detections, key=lambda d: -d.score):
        hit = next((o for o in free if o.kind.name == detection.phrase and iou(o.box, detection.box) >= 0.5), None)
        if hit is not None:
            free.remove(hit)
        result.append((detection.score, hit is not None))
    return result


def iou(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    """Intersection over union of two boxes given as corners."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return both / (areas - both) if areas > both else 0.0


def average_precision(hits: list[tuple[float, bool]], total: int) -> float:
    """Area under the precision-recall curve with precision made monotone, in [0, 1]. total: objects there are."""
    good = np.array([hit for _, hit in sorted(hits, key=lambda h: -h[0])], dtype=float)
    precision = good.cumsum() / np.arange(1, len(good) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * good).sum() / max(total, 1))
