"""Measures a detector on scenes whose objects are known: COCO's AP50, recall, false claims accepted, pairs decided.

AP50 is COCO's (pycocotools): every kind is asked for in every picture, precision is averaged over kinds. Recall and
false claims are measured as the service uses the expert: asked for what a response might name, at its own threshold.

Run: `vl-genrm pocket bench-expert`.
"""

import asyncio
import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from experts.contract import Expert, Inquiry
from experts.grounding_dino import GroundingDino
from experts.panel import ExpertPanel
from genrm.evidence import find_better_supported
from genrm.types import Comparison, Detection
from pocket.drawing import draw_scene
from pocket.exchanges import absent_kind, pick
from pocket.expert_probe import match_detections
from pocket.rows import make_rows
from pocket.scenes import Scene, Split, sample_scene
from pocket.vocabulary import KINDS
from training.statistics import share_with_interval

PAIR_KINDS = ("existence", "denial", "choice", "objects", "count")
"""Kinds of comparison that detections alone can decide."""
_NUM_FALSE_CLAIMS = 4
_LOW = 0.05


def measure_expert(expert: GroundingDino, split: Split, num_scenes: int, *, seed: int = 0) -> dict[str, object]:
    """AP50, recall and false claims accepted with 95 % intervals, over `num_scenes` scenes of a split."""
    scenes = [sample_scene(split, index + seed * 1_000_000) for index in range(num_scenes)]
    patient = expert.with_options(replace(expert.options, box_threshold=_LOW, text_threshold=_LOW))
    names = tuple(kind.name for kind in KINDS)
    everything = _detect(patient, scenes, [names] * num_scenes)
    rng = np.random.default_rng(seed)
    false_claims = [
        tuple({absent_kind(s, rng, like=pick(rng, s.objects).kind).name for _ in range(_NUM_FALSE_CLAIMS)})
        for s in scenes
    ]
    asked = [tuple({o.kind.name for o in s.objects} | set(f)) for s, f in zip(scenes, false_claims, strict=True)]
    found = _detect(expert, scenes, [tuple(sorted(names)) for names in asked])
    hits = sum(good for s, d in zip(scenes, found, strict=True) for _, good in match_detections(s, d))
    accepted = [name in {d.phrase for d in ds} for f, ds in zip(false_claims, found, strict=True) for name in f]
    extra = sum(_has_extra(s, d) for s, d in zip(scenes, found, strict=True))
    return {
        "AP50": average_precision_50(scenes, everything),
        "recall": share_with_interval(hits, sum(len(s.objects) for s in scenes)),
        "false_claims_accepted": share_with_interval(sum(accepted), len(accepted)),
        "one_too_many": share_with_interval(extra, sum(map(len, asked))),
    }


def decide_pairs(panel: ExpertPanel, split: Split, num_rows: int, *, seed: int = 0) -> dict[str, object]:
    """How often the better supported response is the right one, per kind of comparison; no difference counts half."""
    rows = [row for row in make_rows(split, num_rows, seed=seed) if row.kind in PAIR_KINDS]

    async def run() -> list[float]:
        scores = []
        for row in tqdm(rows, desc="pairs"):
            comparison = Comparison(
                images=(draw_scene(row.scene),),
                question=row.question,
                response_a=row.response_a,
                response_b=row.response_b,
            )
            evidence = (await panel.examine(comparison)).evidence
            preferred = find_better_supported(evidence)
            scores.append(0.5 if preferred is None else float(preferred == row.label))
        return scores

    scores = asyncio.run(run())
    by_kind = {
        kind: [score for row, score in zip(rows, scores, strict=True) if row.kind == kind] for kind in PAIR_KINDS
    }
    return {
        "overall": share_with_interval(sum(scores), len(scores)),
        "undecided": share_with_interval(sum(score == 0.5 for score in scores), len(scores)),
        "by_kind": {kind: share_with_interval(sum(each), len(each)) for kind, each in by_kind.items() if each},
    }


def average_precision_50(scenes: Sequence[Scene], found: Sequence[Sequence[Detection]]) -> float:
    """COCO's AP at IoU 0.5, in [0, 1]: mean over the kinds that occur."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {kind.name: number for number, kind in enumerate(KINDS, 1)}
    objects: list[dict[str, Any]] = [
        {"image_id": image, "category_id": numbers[o.kind.name], "bbox": _as_xywh(o.box)}
        for image, scene in enumerate(scenes)
        for o in scene.objects
    ]
    for number, item in enumerate(objects, 1):
        item |= {"id": number, "iscrowd": 0, "area": item["bbox"][2] * item["bbox"][3]}
    results = [
        {"image_id": image, "category_id": numbers[d.phrase], "bbox": _as_xywh(d.box), "score": d.score}
        for image, detections in enumerate(found)
        for d in detections
    ]
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(scenes))],
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
            "annotations": objects,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # recall steps, kinds; all areas, most detections
    return float(precision[precision > -1].mean())


def _detect(expert: Expert, scenes: Sequence[Scene], phrases: Sequence[tuple[str, ...]]) -> list[tuple[Detection, ...]]:
    found: list[tuple[Detection, ...]] = []
    for start in tqdm(range(0, len(scenes), 16), desc="detect", unit="×16"):
        part = slice(start, start + 16)
        pictures = [draw_scene(scene) for scene in scenes[part]]
        found += expert.detect([Inquiry(image=i, phrases=p) for i, p in zip(pictures, phrases[part], strict=True)])
    return found


def _has_extra(scene: Scene, detections: Sequence[Detection]) -> int:
    """Number of phrases for which more was found than is there."""
    names = {d.phrase for d in detections}
    return sum(sum(d.phrase == name for d in detections) > len(scene.of_kind(name)) for name in names)


def _as_xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]
