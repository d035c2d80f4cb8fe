"""The files of a labelling: preference rows in TRL's vision format, and every verdict, kept or dropped.

dpo/rows-….parquet        images, prompt, chosen, rejected as TRL's `DPOTrainer` reads them; the columns beside them
                          (margin, verdict, evidence, judge) are dropped by the trainer
verdicts/rows-….parquet   one row per judged pair, with the reason why it was dropped, or null
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.labelling.candidates import Candidates
from training.labelling.rules import Labelled
from training.preference_rows import make_preference_row, write_preference_rows, write_rows
from training.sources import SOURCE_ROW

DPO = "dpo"
VERDICTS = "verdicts"
_DPO_TEXTS = ("id", SOURCE_ROW, "verdict", "evidence_chosen", "evidence_rejected", "judge")
_VERDICT_TEXTS = (
    *("id", SOURCE_ROW, "question", "response_a", "response_b", "status", "reason", "preferred", "critique"),
    *("readings", "evidence_a", "evidence_b", "dropped_because", "judge"),
)
_VERDICT_NUMBERS = ("probability_a", "margin", "confidence", "label_mass")
_VERDICT_FLAGS = ("consistent", "expert_conflict")


def make_dpo_row(row: Candidates, one: Labelled, images: Sequence[Mapping[str, Any]], judge: str) -> dict[str, Any]:
    """A kept pair. images: encoded, as `encode_images` makes them. judge: its name."""
    is_first_better = one.verdict.preferred == "A"
    chosen, rejected = (one.first, one.second) if is_first_better else (one.second, one.first)
    evidence = one.verdict.evidence.model_dump(mode="json")
    better, worse = ("A", "B") if is_first_better else ("B", "A")
    return make_preference_row(
        images=images,
        question=row.question,
        chosen=row.answers[chosen],
        rejected=row.answers[rejected],
        id=one.id,
        **{SOURCE_ROW: row.id},
        margin=one.width,
        verdict=json.dumps(one.verdict.model_dump(mode="json", exclude={"evidence", "timings_ms", "usage"})),
        evidence_chosen=json.dumps(evidence[better]),
        evidence_rejected=json.dumps(evidence[worse]),
        judge=judge,
    )


def make_verdict_row(row: Candidates, one: Labelled, reason: str | None, judge: str) -> dict[str, Any]:
    """A judged pair. reason: why it was dropped; None if it was kept."""
    verdict = one.verdict
    evidence = verdict.evidence.model_dump(mode="json")
    return {
        "id": one.id,
        SOURCE_ROW: row.id,
        "question": row.question,
        "response_a": row.answers[one.first],
        "response_b": row.answers[one.second],
        "status": verdict.status,
        "reason": verdict.reason,
        "preferred": verdict.preferred,
        "probability_a": verdict.probabilities.A if verdict.probabilities else None,
        "margin": verdict.margin,
        "confidence": verdict.confidence,
        "label_mass": verdict.label_mass,
        "consistent": verdict.consistent,
        "expert_conflict": verdict.expert_conflict,
        "critique": verdict.critique,
        "readings": json.dumps([reading.model_dump(mode="json") for reading in verdict.readings]),
        "evidence_a": json.dumps(evidence["A"]),
        "evidence_b": json.dumps(evidence["B"]),
        "dropped_because": reason,
        "judge": judge,
    }


def write_dpo_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one shard of preference rows in one step; also an empty one, which says that the block is done."""
    write_preference_rows(path, rows, texts=_DPO_TEXTS, numbers=("margin",))


def write_verdict_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one shard of verdicts in one step."""
    from datasets import Features, Value

    kinds = {"string": _VERDICT_TEXTS, "float64": _VERDICT_NUMBERS, "bool": _VERDICT_FLAGS}
    write_rows(path, rows, Features({name: Value(kind) for kind, names in kinds.items() for name in names}))
