"""One round over some items: sample, revise, verify, pair; and the training of the models for the next.

A round's folder `round-N/` has what each stage wrote (`training.ipa.asking`); its pairs go to the folders `data/` and
`feedback/` of the run. What was counted on the way is in `outcomes.jsonl`, a line per shard, written last.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image
from transformers import TrainerCallback

from training.dpo_training import train_dpo
from training.engines import EngineChoice
from training.ipa.asking import Line, load_all, read_together, run_stage
from training.ipa.candidates import Answer, answers_of, candidates_of
from training.ipa.feedback import revise
from training.ipa.items import Item
from training.ipa.pairs import pair_feedback, pair_up, split_by_finding
from training.ipa.sampling import sample
from training.ipa.settings import IpaConfig
from training.ipa.state import outcomes_file
from training.ipa.tables import DATA, FEEDBACK, make_feedback_row, make_row, write_feedback_rows, write_pair_rows
from training.ipa.verification import Finding, verify
from training.jobs.run_folder import RunFolder
from training.preference_rows import Row, encode_images
from training.sources import Pair, read_pairs

_log = logging.getLogger(__name__)

Watch = Callable[[str], Sequence[TrainerCallback]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Who answers and who revises in a round."""

    generators: tuple[EngineChoice, ...]
    reviser: EngineChoice


def collect(config: IpaConfig, folder: RunFolder, items: Sequence[Item], models: Models, number: int) -> None:
    """All stages of a round, as far as they are not done. number: of the round, from 1."""
    shards = [items[i : i + config.items_per_shard] for i in range(0, len(items), config.items_per_shard)]
    seed = config.seed * 1_000_003 + number * 10_000_019
    guided = config.reference_guided if number == 3 else None
    sampled = [f"round-{number}/sampled-{index}.jsonl" for index in range(1, len(models.generators) + 1)]
    revised, verified = f"round-{number}/revised.jsonl", f"round-{number}/verified.jsonl"
    for index, (name, choice) in enumerate(zip(sampled, models.generators, strict=True), 1):
        work = partial(sample, config=config, is_guided=guided == "sampling")
        title = f"round {number}: sample, generator {index}"
        run_stage(folder, name, shards, choice, work, seed=seed + index * 1_000_000_007, title=title)
    work = partial(revise, config=config, is_guided=guided == "feedback")
    run_stage(
        folder, revised, shards, models.reviser, work,
        inputs=sampled, seed=seed + 1_000_000_000_039, title=f"round {number}: revise",
    )  # fmt: skip
    run_stage(
        folder, verified, shards, config.verifier, partial(verify, config=config),
        inputs=[*sampled, revised], seed=seed, title=f"round {number}: verify",
    )  # fmt: skip
    outcomes = outcomes_file(number)
    done = sum(1 for _ in folder.read_lines(outcomes))
    for index, lines in enumerate(read_together(folder, [*sampled, revised, verified])):
        if index >= done:
            folder.append_line(outcomes, _pair_shard(config, folder, shards[index], lines, number, index))


def _pair_shard(
    config: IpaConfig, folder: RunFolder, shard: Sequence[Item], lines: Sequence[Line], number: int, index: int
) -> dict[str, Any]:
    """Write the pairs of a shard; returns its line of outcomes."""
    *sampled, revised, verified = lines
    rows: list[Row] = []
    feedback_rows: list[Row] = []
    told: dict[str, dict[str, int]] = {}
    counts: Counter[str] = Counter()
    for item, images in load_all([item for item in shard if item.id in verified]):
        answers = list(answers_of(item.id, sampled, revised))
        findings = verified[item.id]
        own, feedback, told[item.id] = _pair_item(config, item, images, answers, findings, number)
        rows += own
        feedback_rows += feedback
        counts.update(_count(answers, findings))
        counts.update(_fate_of(told[item.id]))
        counts.update(f"pairs/{row['chosen_from']} over {row['rejected_from']}" for row in own)
    name = f"rows-{number}-{index:06}.parquet"
    write_pair_rows(folder.path / DATA / name, rows)
    write_feedback_rows(folder.path / FEEDBACK / name, feedback_rows)
    return {"items": told, "counts": dict(counts)}


def _pair_item(
    config: IpaConfig,
    item: Item,
    images: tuple[Image, ...],
    answers: Sequence[Answer],
    findings: dict[str, Finding],
    number: int,
) -> tuple[list[Row], list[Row], dict[str, int]]:
    candidates = candidates_of(answers)
    passed, failed = split_by_finding(candidates, findings)
    rng = random.Random(f"{config.seed} pairs {number} {item.id}")
    pairs = pair_up(passed, failed, cap=config.caps.pairs_per_item, rng=rng)
    feedback = pair_feedback(answers, findings, cap=config.caps.feedback_pairs_per_item, rng=rng)
    stored = encode_images(images) if pairs or feedback else []
    rows = [make_row(item, stored, two, number=number, index=index) for index, two in enumerate(pairs)]
    feedback_rows = [
        make_feedback_row(item, stored, two, style=config.prompts, number=number, index=index)
        for index, two in enumerate(feedback)
    ]
    counts = {
        "candidates": len(candidates), "passed": len(passed), "failed": len(failed),
        "pairs": len(rows), "feedback_pairs": len(feedback_rows),
    }  # fmt: skip
    return rows, feedback_rows, counts


def _fate_of(counts: dict[str, int]) -> list[str]:
    """What an item is for pairs."""
    if not counts["candidates"]:
        return ["item/no candidate"]
    if not counts["passed"]:
        return ["item/no pass"]
    return ["item/pairs" if counts["failed"] else "item/no fail"]


def _count(answers: Sequence[Answer], findings: dict[str, Finding]) -> Counter[str]:
    """Answers by fate, by source and finding, and by perturbation and finding."""
    counts: Counter[str] = Counter()
    for answer in answers:
        counts[f"fate/{answer.source}/{answer.fate}"] += 1
        if answer.fate == "kept":
            finding = findings[answer.key]
            counts[f"finding/{answer.source}/{finding}"] += 1
            if answer.perturbation:
                counts[f"perturbed/{answer.perturbation.split()[0]}/{finding}"] += 1
    return counts


def train_models(
    config: IpaConfig, folder: RunFolder, models: Models, number: int, *, watch: Watch
) -> tuple[Models, dict[str, int]]:
    """The models of a round, trained on the pairs of the rounds before, and how many pairs each was trained on.

    A model behind a server cannot be trained here and stays what it is, as do all where pairs do not fill one batch,
    or the round before brought none. watch: makes the callbacks of a training from its name.
    """
    trained: dict[str, int] = {}

    def train(name: str, first: EngineChoice, before: EngineChoice, rows: Sequence[Pair]) -> EngineChoice:
        fresh = [pair for pair in rows if pair.record["round"] == str(number - 1)]
        own = fresh if config.start == "previous" else rows
        if first.url is not None or not fresh or len(own) < config.training.batch_size:
            why = f"it runs at {first.url}" if first.url else f"{len(own)} pairs, {len(fresh)} of them new, are too few"
            _log.warning("Before round %d %s is not trained: %s.", number, name, why)
            return before
        trained[name] = len(own)
        return train_dpo(
            before if config.start == "previous" else first,
            own,
            config.training,
            folder.path / f"round-{number}" / name,
            seed=config.seed + number,
            callbacks=watch(f"round-{number}/{name}/"),
        )

    pairs, feedback = (_rows_before(folder.path / name, number) for name in (DATA, FEEDBACK))
    generators = tuple(
        train(f"generator-{index}", first, before, pairs)
        for index, (first, before) in enumerate(zip(config.generators, models.generators, strict=True), 1)
    )
    return Models(generators=generators, reviser=train("reviser", config.reviser, models.reviser, feedback)), trained


def _rows_before(data: Path, number: int) -> list[Pair]:
    """The pairs of the rounds before; none is no error here."""
    from pyarrow.parquet import read_metadata

    if not any(read_metadata(path).num_rows for path in data.glob("*.parquet")):
        return []
    return [pair for pair in read_pairs(str(data)).rows if int(pair.record["round"]) < number]
