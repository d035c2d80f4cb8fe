"""Critiques to learn from: written with the answer in view, kept only if they convince a reader who does not have it.

For every pair and order, the model is told the gold verdict and what experts found, and writes critiques. Each is then
put behind the prompt that a judge sees, without hint or evidence, and the model reads on: only if the verdict that it
now gives is the gold one does the critique carry the verdict. That alone would let a critique pass that turns round in
its last words because it was told to. So the probability of every token is compared with and without the hint, and
a text with a step that only the hint explains is dropped. What the evidence explains may stay: it is what the judge
shall learn to see. Dropped, too, is a text that mentions the hint, that names nothing in which the responses differ
(`training.differences`), or that sees what experts do not (`training.agreement`). How sure the model is of the pair
before any training weighs the sample (`training.losses.learning_weight`).

Styles for ablation: critiques, descriptions of the image, or the verdict alone. Output: `written.jsonl`, and of it
what was kept, `critiques.jsonl`, one line per block of pairs; a killed run goes on with the first unfinished block and
writes the same.

Run: `vl-genrm train critiques CONFIG`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from tqdm import tqdm

from genrm.engines.contract import Completion, Engine, Prompt, Sampling
from genrm.parsing import parse_verdict
from genrm.prompts import LABELS, MARKER, render_prompt, render_sightings
from genrm.types import Comparison, Response
from training.engines import HARMLESS, EngineChoice, open_engine, require_probabilities
from training.faults import Fault, find_fault
from training.gold import ORDERS, gold_label, probability_of
from training.jobs.config import JobConfig
from training.jobs.job import Job
from training.jobs.plan import Plan, PlannedStep
from training.jobs.processes import is_first_process, wait_for
from training.jobs.run_folder import RESULT, RunFolder
from training.losses import learning_weight
from training.prompts import CritiqueStyle, guide
from training.refusals import ask_in_parts
from training.samples import Sample, shows_evidence, sightings_of, to_sample
from training.sources import Pair, RowError, Skipped, count_pairs, log_skipped, read_own_pairs
from training.statistics import share_with_interval
from training.tables import SourceError
from training.text_scoring import TextScorer

WRITTEN, CRITIQUES = "written.jsonl", "critiques.jsonl"
_LEAK = re.compile(r"\bhint\b|\bI (?:was|am|have been) told\b|\bthe better response is\b", re.IGNORECASE)
_EVIDENCE_LEAK = re.compile(r"\bdetectors?\b", re.IGNORECASE)
"""In a text whose sample shows no evidence: it speaks of what the judge would not see."""
_FATES = (
    "written", "without the gold verdict", "hint mentioned", "difference not named", "contradicted by experts",
    "not convincing", "convincing",
)  # fmt: skip
"""Counted also where nothing met them."""


class CritiqueConfig(JobConfig):
    """Settings of the job."""

    harmless = HARMLESS

    pairs: str = Field(description="Labelled pairs: the folder `data` of `train preferences`, or any source of pairs.")
    limit: int | None = Field(None, ge=1, description="Read this many pairs at most.")
    engine: EngineChoice = EngineChoice()
    style: CritiqueStyle = "critique"
    show_evidence: bool = Field(default=True, description="Whether the writer sees what experts found.")
    per_order: int = Field(2, ge=1, description="Critiques written per pair and order.")
    keep_per_order: int = Field(1, ge=1, description="Critiques kept per pair and order at most, the most convincing.")
    must_name_difference: bool = Field(
        default=True,
        description="Drop texts that repeat no word of what only the one, or only the other response says.",
    )
    must_agree_with_experts: bool = Field(
        default=True, description="Drop texts that say something else of an object than the experts found."
    )
    max_hint_dependence: float | None = Field(
        1.5, gt=0, description="Most nats that the hint may add to a token's log-probability; null: not looked at."
    )
    temperature: float = Field(0.7, ge=0)
    max_tokens: int = Field(256, ge=8)
    evidence_share: float = Field(
        0.3, ge=0, le=1, description="Share of pairs whose samples show the judge the evidence, so that it can read it."
    )
    pairs_per_block: int = Field(64, ge=1)

    @property
    def looks_at_hint(self) -> bool:
        """Whether texts that owe a step to the hint are dropped. A description owes every word to being asked for."""
        return self.style == "critique" and self.max_hint_dependence is not None

    @model_validator(mode="after")
    def _check_scoring(self) -> Self:
        if self.engine.url is not None and self.looks_at_hint:
            raise ValueError("a model behind engine.url cannot say how much a text owes to the hint; set "
                             "max_hint_dependence to null")  # fmt: skip
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A critique that was kept, as it is stored. probability: of the gold verdict, for a fresh reader."""

    id: str
    first: Response
    text: str
    probability: float
    weight: float
    with_evidence: bool


def run(config: CritiqueConfig, folder: RunFolder) -> None:
    """Write all critiques, then keep the good ones; the first process does."""
    if not is_first_process():
        wait_for(folder.path / RESULT)
        return
    pairs = read_own_pairs(config.pairs, limit=config.limit)
    blocks = [pairs[i : i + config.pairs_per_block] for i in range(0, len(pairs), config.pairs_per_block)]
    done = sum(1 for _ in folder.read_lines(WRITTEN))
    if done < len(blocks):
        asyncio.run(_write_blocks(config, folder, blocks, first=done))
    _keep_blocks(config, folder, blocks)
    folder.write_json(RESULT, _summarise(folder))


async def _write_blocks(
    config: CritiqueConfig, folder: RunFolder, blocks: Sequence[Sequence[Pair]], *, first: int
) -> None:
    engine = open_engine(config.engine)
    await engine.start()
    try:
        require_probabilities(engine)
        bar = tqdm(range(first, len(blocks)), desc="write", unit=f"×{config.pairs_per_block} pairs")
        for number in bar:
            kept, counts = await write_critiques(engine, blocks[number], config, seed=number)
            folder.append_line(WRITTEN, {"counts": counts, "critiques": [_to_json(item) for item in kept]})
    finally:
        await engine.close()


def _keep_blocks(config: CritiqueConfig, folder: RunFolder, blocks: Sequence[Sequence[Pair]]) -> None:
    """Second pass, once the engine has let go of the device: drop what owes a step to the hint."""
    lines, done = list(folder.read_lines(WRITTEN)), sum(1 for _ in folder.read_lines(CRITIQUES))
    if done == len(lines):
        return
    scorer = TextScorer(config.engine) if config.looks_at_hint else None
    for line, block in tqdm(
        list(zip(lines, blocks, strict=True))[done:], desc="check", unit=f"×{len(blocks[0])} pairs"
    ):
        kept = [Written(**row) for row in line["critiques"]]
        skipped: list[Skipped] = []
        if scorer is not None:
            kept, skipped = drop_hint_dependent(scorer, kept, block, config)
            log_skipped(skipped)
        owed = len(line["critiques"]) - len(kept) - len(skipped)
        counts = {**line["counts"], "owed to the hint": owed} | ({"not scored": len(skipped)} if skipped else {})
        folder.append_line(CRITIQUES, {"counts": counts, "critiques": [_to_json(item) for item in _best(kept, config)]})


def drop_hint_dependent(
    scorer: TextScorer, written: Sequence[Written], pairs: Sequence[Pair], config: CritiqueConfig
) -> tuple[list[Written], list[Skipped]]:
    """Critiques without a token whose log-probability the hint raises by more than `max_hint_dependence` nats, and
    those of which that cannot be said: the image cannot be read any more, or the scorer cannot read them.
    """
    named = {item.id for item in written}
    by_id: dict[str, tuple[Pair, Comparison]] = {}
    reasons: dict[str, str] = {}
    for pair in pairs:
        if pair.id in named:
            try:
                by_id[pair.id] = (pair, pair.load())
            except RowError as error:
                reasons[pair.id] = str(error)
    skipped = [Skipped(id=item.id, reason=reasons[item.id]) for item in written if item.id in reasons]
    written = [item for item in written if item.id in by_id]
    plain, guided = [], []
    for item in written:
        pair, comparison = by_id[item.id]
        prompt = _with_evidence(render_prompt(comparison, first=item.first, mode="critique"), pair, config)
        plain.append((prompt, item.text))
        guided.append((_with_hint(prompt, pair, item.first, config), item.text))
    limit, kept = config.max_hint_dependence or 0.0, []
    for item, one, other in zip(written, scorer.score(guided), scorer.score(plain), strict=True):
        if isinstance(one, str) or isinstance(other, str):
            skipped.append(Skipped(id=item.id, reason=one if isinstance(one, str) else str(other)))
        elif float((one - other).max()) <= limit:
            kept.append(item)
    return kept, skipped


async def write_critiques(
    engine: Engine, pairs: Sequence[Pair], config: CritiqueConfig, *, seed: int
) -> tuple[list[Written], dict[str, int]]:
    """Critiques of a block of pairs that convince a reader, and how many met which fate. Pairs whose image cannot be
    read or that the model refuses are left out, counted and logged.
    """
    counts = Counter(dict.fromkeys(_FATES, 0))
    asked: list[list[tuple[Pair, Response, Prompt]]] = []
    skipped: list[Skipped] = []
    for pair in pairs:
        try:
            comparison = pair.load()
        except RowError as error:
            counts["unusable pair"] += 1
            skipped.append(Skipped(id=pair.id, reason=str(error)))
            continue
        asked.append([(pair, first, render_prompt(comparison, first=first, mode="critique")) for first in ORDERS])

    async def write(part: Sequence[Sequence[tuple[Pair, Response, Prompt]]]) -> tuple[list[Written], Counter[str]]:
        return await _write(engine, [prompt for both in part for prompt in both], config, seed=seed)

    parts, refused = await ask_in_parts(asked, write)
    for ((pair, *_), *_), reason in refused:
        counts["pair refused by the model"] += 1
        skipped.append(Skipped(id=pair.id, reason=reason))
    log_skipped(skipped)
    for _, fates in parts:
        counts.update(fates)
    return [item for kept, _ in parts for item in kept], dict(counts)


async def _write(
    engine: Engine, prompts: Sequence[tuple[Pair, Response, Prompt]], config: CritiqueConfig, *, seed: int
) -> tuple[list[Written], Counter[str]]:
    """The same for prompts in both orders. Raises InvalidComparisonError if the engine refuses one."""
    counts: Counter[str] = Counter()
    drafts = await _draft(engine, prompts, config, counts, seed=seed)
    readings = await _read_on(engine, [(prompt, text) for _, prompt, text in drafts])
    unaided = await read_unaided(engine, prompts, max_tokens=config.max_tokens)
    kept: list[Written] = []
    for ((pair, first), _, text), completion in zip(drafts, readings, strict=True):
        probability = probability_of(completion, gold_label(pair.label, first))
        if probability is None or probability <= 0.5:
            counts["not convincing"] += 1
            continue
        kept.append(
            Written(
                id=pair.id,
                first=first,
                text=f"{text} {gold_label(pair.label, first)}",
                probability=probability,
                weight=learning_weight(unaided[pair.id]),
                with_evidence=shows_evidence(pair.id, config.evidence_share, seed=config.seed),
            )
        )
    counts["convincing"] = len(kept)
    return kept, counts


def _best(written: Sequence[Written], config: CritiqueConfig) -> list[Written]:
    """The most convincing ones of each pair and order."""
    groups: dict[tuple[str, Response], list[Written]] = {}
    for item in written:
        groups.setdefault((item.id, item.first), []).append(item)
    return [
        item
        for group in groups.values()
        for item in sorted(group, key=lambda each: -each.probability)[: config.keep_per_order]
    ]


def _to_json(item: Written) -> dict[str, Any]:
    return {name: getattr(item, name) for name in Written.__slots__}


async def _draft(
    engine: Engine,
    prompts: Sequence[tuple[Pair, Response, Prompt]],
    config: CritiqueConfig,
    counts: Counter[str],
    *,
    seed: int,
) -> list[tuple[tuple[Pair, Response], Prompt, str]]:
    """Different texts that end with the verdict marker, with the unguided prompt that each is to follow."""
    if config.style == "none":
        counts["written"] += len(prompts)
        return [((pair, first), prompt, MARKER) for pair, first, prompt in prompts]
    guided = [
        prompt
        for pair, first, plain in prompts
        for prompt in [_with_hint(_with_evidence(plain, pair, config), pair, first, config)] * config.per_order
    ]
    completions = await engine.complete(
        guided,
        Sampling(
            temperature=config.temperature, seed=config.seed * 1_000_003 + seed, max_tokens=config.max_tokens,
            marker=MARKER, labels=LABELS,
        ),
    )  # fmt: skip
    drafts: dict[tuple[str, Response, str], tuple[tuple[Pair, Response], Prompt, str]] = {}
    for index, completion in enumerate(completions):
        pair, first, prompt = prompts[index // config.per_order]
        counts["written"] += 1
        parsed = parse_verdict(completion.text)
        if parsed.label != gold_label(pair.label, first):
            counts["without the gold verdict"] += 1
        elif _LEAK.search(completion.text) or (
            _EVIDENCE_LEAK.search(completion.text)
            and not shows_evidence(pair.id, config.evidence_share, seed=config.seed)
        ):
            counts["hint mentioned"] += 1
        elif (fault := _find_fault(parsed.critique, pair, config)) is not None:
            counts[fault] += 1
        else:
            text = f"{parsed.critique}\n{MARKER}".lstrip()
            drafts[pair.id, first, text] = ((pair, first), prompt, text)
    return list(drafts.values())


def _find_fault(critique: str, pair: Pair, config: CritiqueConfig) -> Fault | None:
    """A description has none: it is the failure mode that is to be looked at."""
    is_critique = config.style == "critique"
    return find_fault(
        critique,
        pair,
        must_name_difference=is_critique and config.must_name_difference,
        must_agree_with_experts=is_critique and config.must_agree_with_experts,
    )


def _with_evidence(plain: Prompt, pair: Pair, config: CritiqueConfig) -> Prompt:
    return replace(plain, shared=plain.shared + render_sightings(sightings_of(pair))) if config.show_evidence else plain


def _with_hint(prompt: Prompt, pair: Pair, first: Response, config: CritiqueConfig) -> Prompt:
    return guide(prompt, first=first, better=pair.label, style=config.style)


async def _read_on(engine: Engine, drafts: Sequence[tuple[Prompt, str]]) -> list[Completion]:
    """The verdict that follows each text, as a judge would give it."""
    prompts = [replace(prompt, answer_prefix=text) for prompt, text in drafts]
    return await engine.complete(prompts, Sampling(max_tokens=1, marker=MARKER, labels=LABELS)) if prompts else []


async def read_unaided(
    engine: Engine, prompts: Sequence[tuple[Pair, Response, Prompt]], *, max_tokens: int
) -> Mapping[str, float | None]:
    """Probability that the model gives to the gold verdict of each pair by itself, mean of both orders; None if no
    reading has a verdict.
    """
    if not prompts:
        return {}
    completions = await engine.complete(
        [prompt for _, _, prompt in prompts], Sampling(max_tokens=max_tokens, marker=MARKER, labels=LABELS)
    )
    found: dict[str, list[float]] = {pair.id: [] for pair, _, _ in prompts}
    for (pair, first, _), completion in zip(prompts, completions, strict=True):
        probability = probability_of(completion, gold_label(pair.label, first))
        if probability is not None:
            found[pair.id].append(probability)
    return {name: sum(values) / len(values) if values else None for name, values in found.items()}


def read_critiques(folder: Path, pairs: Sequence[Pair]) -> list[Sample]:
    """The samples that a run of the job left, for these pairs. Raises SourceError if none ran there, or if a sample is
    of another pair.
    """
    if not (folder / CRITIQUES).is_file():
        raise SourceError(f"{folder} holds no {CRITIQUES}. Name the output folder of `train critiques`.")
    by_id, rows = {pair.id: pair for pair in pairs}, list(_stored(RunFolder(folder)))
    strange = next((row["id"] for row in rows if row["id"] not in by_id), None)
    if strange is not None:
        raise SourceError(
            f"{folder} holds a critique of the pair {strange!r}, which is not among the pairs given. Name the pairs "
            "that the critiques were made from."
        )
    return [to_sample(by_id[row["id"]], row) for row in rows]


def _stored(folder: RunFolder) -> Iterator[Mapping[str, Any]]:
    return (row for line in folder.read_lines(CRITIQUES) for row in line["critiques"])


def _summarise(folder: RunFolder) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for line in folder.read_lines(CRITIQUES):
        for name, number in line["counts"].items():
            counts[name] = counts.get(name, 0) + number
    rows = list(_stored(folder))
    return {
        "fates": counts,
        "acceptance": share_with_interval(len(rows), max(counts.get("written", 0), 1)),
        "pairs": len({row["id"] for row in rows}),
    }


def _plan(config: CritiqueConfig) -> Plan:
    num = count_pairs(config.pairs, limit=config.limit)
    readings = 2 * num * (config.per_order + 1)
    detail = f"{num:,} pairs, both orders, {config.per_order} critiques and one unaided reading each"
    return Plan(
        steps=(
            PlannedStep(
                name="critiques",
                detail=detail,
                num_tokens=readings * 300,
                seconds=readings / config.engine.readings_per_second,
            ),
        ),
    )


JOB = Job(schema=CritiqueConfig, plan=_plan, run=run)
