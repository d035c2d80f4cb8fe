"""How good a judge is on held-out pairs, between the steps of its training."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from genrm.judge import JudgeOptions
from genrm.types import Verdict
from training.engines import EngineChoice, open_engine
from training.evaluation.judges import LocalJudge
from training.evaluation.judging import open_judging
from training.evaluation.scoring import find_confidences, score
from training.jobs.config import Section
from training.jobs.files import read_json, write_json
from training.jobs.plan import PlannedStep
from training.jobs.processes import is_first_process, wait_for
from training.sources import Pair, count_pairs, read_pairs
from training.statistics import bootstrap_calibration_error, share_with_interval
from training.tables import SourceError

_FILE = "measured.json"


class Measuring(Section):
    """Held-out pairs that a judge in training is measured on. They must share no image with what it learns from."""

    pairs: str = Field(description="Source of labelled pairs.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    limit: int | None = Field(None, ge=1, description="Measure on this many pairs at most.")


def measure(choice: EngineChoice, settings: Measuring, folder: Path) -> dict[str, Any]:
    """Accuracy over all pairs and per group, consistency and ECE as estimates under `figures`; `scores` by pair, in
    [0, 1], for paired comparisons, where an id repeats by `id#1`, `id#2` and so on; `num_not_judged`, pairs that could
    not be judged and rows that are no pairs. An abstention is wrong, a tie half right.

    What a killed run judged is kept in `folder`, and a finished measurement is not repeated. Of several processes the
    first one measures. Raises SourceError if no pair could be judged.
    """
    if not is_first_process():
        wait_for(folder / _FILE)
    known: dict[str, Any] | None = read_json(folder / _FILE)
    if known is not None:
        return known
    read = read_pairs(settings.pairs, images=settings.images, limit=settings.limit)
    pairs = _number_repeats(read.rows)
    found = asyncio.run(_judge(choice, pairs, folder))
    judged = [(pair, verdict) for pair, verdict in found if verdict is not None]
    if not judged:
        raise SourceError(
            f"None of the {len(pairs)} pairs of {settings.pairs} could be judged; the log says why of each."
        )
    measured = summarise([pair for pair, _ in judged], [verdict for _, verdict in judged])
    measured["num_not_judged"] = len(read.skipped) + len(pairs) - len(judged)
    write_json(folder / _FILE, measured)
    return measured


def plan_measuring(settings: Measuring, choice: EngineChoice, *, name: str) -> PlannedStep:
    """One measurement: every pair in both orders."""
    num = count_pairs(settings.pairs, images=settings.images, limit=settings.limit)
    seconds = 2 * num / choice.readings_per_second
    return PlannedStep(name=name, detail=f"{num:,} pairs", num_tokens=600 * num, seconds=seconds)


def summarise(pairs: Sequence[Pair], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The `figures` and `scores` of `measure`, for verdicts that are there. pairs: each with an id of its own."""
    scores = [score(pair, verdict) or 0.0 for pair, verdict in zip(pairs, verdicts, strict=True)]
    groups: dict[str, list[float]] = {"overall": scores}
    for pair, value in zip(pairs, scores, strict=True):
        groups.setdefault(pair.group or "no group", []).append(value)
    consistent = [verdict.consistent for verdict in verdicts if verdict.consistent is not None]
    figures = {name: share_with_interval(sum(values), len(values)) for name, values in groups.items()}
    figures["consistency"] = share_with_interval(sum(consistent), len(consistent))
    figures["ECE"] = bootstrap_calibration_error(*find_confidences(pairs, verdicts))
    return {"figures": figures, "scores": {p.id: s for p, s in zip(pairs, scores, strict=True)}}


def _number_repeats(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, each with an id of its own, the same in every measurement of a source.

    All pairs of a repeated id are numbered, the first one too: older files have one score for all of them, which must
    not be set against that of any.
    """
    known, numbers = Counter(pair.id for pair in pairs), Counter[str]()

    def number(pair: Pair) -> Pair:
        name = pair.id
        while known[pair.id] > 1 and name in known:
            numbers[pair.id] += 1
            name = f"{pair.id}#{numbers[pair.id]}"
        return pair if name == pair.id else replace(pair, id=name)

    return [number(pair) for pair in pairs]


async def _judge(choice: EngineChoice, pairs: Sequence[Pair], folder: Path) -> list[tuple[Pair, Verdict | None]]:
    judge = LocalJudge(open_engine(choice))
    await judge.start()
    try:
        judging = open_judging(judge, JudgeOptions(experts="off"), folder)
        return list(zip(pairs, await judging.verdicts(pairs, title="measure"), strict=True))
    finally:
        await judge.close()
