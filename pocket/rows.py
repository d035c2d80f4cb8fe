"""Labelled comparisons from scenes: the typed row, the splits, and export to files that other tools read.

A row takes its scene from its index, its question kind in rotation over the groups (so that a split of 2,000 rows has
each kind about equally often within its group), and everything else from one generator seeded by (split, index,
seed).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from genrm.types import Response
from pocket.critiques import pair_critique
from pocket.drawing import draw_scene
from pocket.exchanges import ErrorKind, Exchange, Group
from pocket.questions import OPEN_ENDED, QUESTION_KINDS
from pocket.scenes import Scene, Split, sample_scene

_GROUP_ORDER = (Group.GENERAL, Group.HALLUCINATION, Group.REASONING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One labelled comparison. label: the response that is right. facts: what the picture shows about the
    difference.
    """

    id: str
    scene: Scene
    question: str
    response_a: str
    response_b: str
    label: Response
    group: Group
    kind: str
    error_kind: ErrorKind
    ground_truth: str
    facts: tuple[str, ...]
    critique: str
    """Critique and verdict line as a reading with A first would end ideally."""


def make_row(split: Split, index: int, *, seed: int = 0) -> Row:
    """Row number `index` (≥ 0) of a split. seed: another draw of questions over the same scenes."""
    scene = sample_scene(split, index + seed * 1_000_000)
    rng = np.random.default_rng([index, seed, scene.look_seed])
    group = _GROUP_ORDER[index % 3]
    kind, exchange = draw_exchange(scene, rng, group=group)
    a_is_right = bool(rng.random() < 0.5)
    a, b = (exchange.right, exchange.wrong) if a_is_right else (exchange.wrong, exchange.right)
    return Row(
        id=f"pocket-{split}-{seed}-{index}",
        scene=scene,
        question=exchange.question,
        response_a=a,
        response_b=b,
        label="A" if a_is_right else "B",
        group=group,
        kind=kind,
        error_kind=exchange.error_kind,
        ground_truth=exchange.right,
        facts=exchange.facts,
        critique=pair_critique(exchange, right_is_first=a_is_right),
    )


def make_rows(split: Split, num_rows: int, *, seed: int = 0) -> Iterator[Row]:
    """The first `num_rows` rows of a split, one after the other."""
    return (make_row(split, index, seed=seed) for index in range(num_rows))


def draw_exchange(
    scene: Scene, rng: np.random.Generator, *, group: Group | None = None, weights: Mapping[str, float] | None = None
) -> tuple[str, Exchange]:
    """A question kind that the scene supports, and its exchange; within one group if given.

    weights: how often a kind is tried first, relative to 1 for those not named. None: all kinds alike.
    """
    kinds = [name for name, (of_group, _) in QUESTION_KINDS.items() if group is None or of_group is group]
    if weights is None:
        order = rng.permutation(len(kinds))
    else:
        shares = np.array([weights.get(name, 1.0) for name in kinds])
        order = rng.choice(len(kinds), size=len(kinds), replace=False, p=shares / shares.sum())
    for position in order:
        exchange = QUESTION_KINDS[kinds[int(position)]][1](scene, rng)
        if exchange is not None:
            return kinds[int(position)], exchange
    raise AssertionError("every group has a kind of question that any scene supports")


def export_rows(folder: Path, split: Split, num_rows: int, *, seed: int = 0) -> Path:
    """Write PNG files and `rows.jsonl` with VL-RewardBench's field names; return the path of the latter.

    Fields: id, query, response (two strings), image (file name), human_ranking (0 = better), ground_truth, group,
    kind, open_ended, error_kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in make_rows(split, num_rows, seed=seed):
            image = f"{row.id}.png"
            draw_scene(row.scene).save(folder / image)
            file.write(json.dumps(vl_rewardbench_fields(row, image), ensure_ascii=False) + "\n")
    return path


def vl_rewardbench_fields(row: Row, image: str) -> dict[str, object]:
    """The row under VL-RewardBench's field names, and ours beside them."""
    return {
        "id": row.id,
        "query": row.question,
        "response": [row.response_a, row.response_b],
        "image": image,
        "human_ranking": [0, 1] if row.label == "A" else [1, 0],
        "ground_truth": row.ground_truth,
        "group": str(row.group),
        "kind": row.kind,
        "open_ended": row.kind in OPEN_ENDED,
        "error_kind": str(row.error_kind),
        "facts": list(row.facts),
        "objects": [{"name": o.kind.name, "box": o.box, "mat": o.mat} for o in row.scene.objects],
        "sign": asdict(row.scene.sign) if row.scene.sign else None,
    }
