"""Preference data after VL-GenRM (arXiv 2506.13888): questions with reference answers in, labelled comparisons out.

Per row, wrong answers come from two places: the model's own answers, sampled at a temperature, and the reference with
an error made on purpose (`training.preferences.editing`). Vision experts then say what is in the image: an answer of
the model's is only kept as rejected if they see that it is wrong; an edited one is dropped if its error is really in
the image; a row whose reference they contradict gives nothing. Repetitions go out. Every pair says who made it, what
the experts found and which filter let it pass.

Output: Parquet shards under `data/`, which `training.sources` reads, and a data card (`training.preferences.card`).
Rows are worked on in blocks; a killed run goes on with the first unfinished one and makes the same pairs.

Run: `vl-genrm train preferences CONFIG`.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image
from pydantic import Field
from tqdm import tqdm

from experts.panel import ExpertPanel
from genrm.engines.contract import Engine, Prompt, Sampling
from genrm.evidence import Examination
from genrm.types import Comparison
from training.engines import HARMLESS, EngineChoice, open_engine
from training.jobs.config import JobConfig, Section
from training.jobs.job import Job
from training.jobs.plan import Plan, PlannedStep
from training.jobs.processes import is_first_process, wait_for
from training.jobs.run_folder import RESULT, RunFolder, name_shard
from training.preference_rows import encode_images, write_rows
from training.preferences.card import write_card
from training.preferences.editing import RuleEditor
from training.preferences.experts import Experts, open_panel
from training.preferences.filters import Outcome, check_pair
from training.preferences.pairs import DATA, NoPairsError, with_own_ids
from training.preferences.repetition import Identity, SeenRows, identify, words_of
from training.refusals import ask_in_parts
from training.sources import SOURCE_ROW, Example, RowError, Skipped, count_examples, log_skipped, read_examples

_SECONDS_PER_ROW = 0.04
"""Of experts, about, whatever the model."""
_IDENTITIES = "rows.jsonl"
"""What the rows of each shard are identified by."""


class Sampled(Section):
    """Answers of the model itself."""

    per_row: int = Field(2, ge=0, description="Answers sampled per question.")
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(256, ge=1)


class PreferenceConfig(JobConfig):
    """Settings of the job."""

    harmless = HARMLESS

    source: str = Field(description="Rows with image, question and reference; see `training.tables`.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    limit: int | None = Field(None, ge=1, description="Read this many rows at most.")
    engine: EngineChoice = EngineChoice()
    sampled: Sampled = Sampled()
    edits_per_row: int = Field(2, ge=0, description="Errors made on purpose per reference.")
    pairs_per_row: int = Field(3, ge=1, description="Pairs kept per row at most.")
    experts: Experts = Experts()
    rows_per_shard: int = Field(256, ge=1, description="Source rows worked on together and written to one file.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A response that may become the rejected one. made_by: model or editor. error_kind: of an edit, else `sampled`."""

    text: str
    made_by: str
    error_kind: str

    @property
    def is_sampled(self) -> bool:
        """Whether it is the model's own answer, which may as well be right."""
        return self.error_kind == "sampled"


class PairMaker:
    """Makes the pairs of a block of rows. panel: None switches the experts' filters off.

    known: rows that were worked on before; those and each other the maker does not repeat. identities: of the rows
    that it worked on.
    """

    def __init__(
        self,
        engine: Engine,
        panel: ExpertPanel | None,
        editor: RuleEditor,
        config: PreferenceConfig,
        *,
        known: Iterable[Identity] = (),
    ) -> None:
        self._engine, self._panel, self._editor, self._config = engine, panel, editor, config
        self._seen = SeenRows(known)
        self.identities: list[Identity] = []

    async def make(self, examples: Sequence[Example], *, first_index: int) -> tuple[list[dict[str, Any]], Counter[str]]:
        """Rows for Parquet, and how many candidates met which fate. first_index: of the block's first row."""
        counts: Counter[str] = Counter()
        skipped: list[Skipped] = []
        usable: list[tuple[Example, str, tuple[Image, ...]]] = []
        for example in examples:
            try:
                if example.reference is None:
                    raise RowError("it has no reference answer.")
                images = example.load_images()
            except RowError as error:
                counts["row-unusable"] += 1
                skipped.append(Skipped(id=example.id, reason=str(error)))
                continue
            identity = identify((example.question, example.reference), images)
            if not self._seen.add(identity):
                counts["row-repeats-another"] += 1
                continue
            self.identities.append(identity)
            usable.append((example, example.reference, images))
        parts, refused = await ask_in_parts(
            usable, lambda part: self._sample([(e.question, images) for e, _, images in part], seed=first_index)
        )
        answers = [own for part in parts for own in part]
        for row, reason in refused:
            counts["row-refused-by-the-model"] += 1
            skipped.append(Skipped(id=row[0].id, reason=reason))
        refused_ids = {row[0].id for row, _ in refused}
        usable = [row for row in usable if row[0].id not in refused_ids]
        log_skipped(skipped)
        blocks = await asyncio.gather(
            *(
                self._make_row(example, reference, images, own, counts)
                for (example, reference, images), own in zip(usable, answers, strict=True)
            )
        )
        return [row for block in blocks for row in block], counts

    async def _sample(self, asked: Sequence[tuple[str, tuple[Image, ...]]], *, seed: int) -> list[list[str]]:
        """The model's answers per question. One call, so that a repeated block is the same."""
        settings = self._config.sampled
        if not settings.per_row or not asked:
            return [[] for _ in asked]
        prompts = [
            Prompt(system="", images=images, shared=question, tail="")
            for question, images in asked
            for _ in range(settings.per_row)
        ]
        completions = await self._engine.complete(
            prompts,
            Sampling(
                temperature=settings.temperature,
                top_p=settings.top_p,
                seed=self._config.seed * 1_000_003 + seed,
                max_tokens=settings.max_tokens,
                labels=(),
            ),
        )
        texts = [completion.text.strip() for completion in completions]
        return [texts[i : i + settings.per_row] for i in range(0, len(texts), settings.per_row)]

    async def _make_row(
        self, example: Example, reference: str, images: tuple[Image, ...], answers: Sequence[str], counts: Counter[str]
    ) -> list[dict[str, Any]]:
        rng = random.Random(f"{self._config.seed} {example.id}")
        edits = list(self._editor.edit(example.question, reference, rng))[: self._config.edits_per_row]
        candidates = [Candidate(text=e.text, made_by="rule editor", error_kind=e.kind) for e in edits]
        candidates += [Candidate(text=a, made_by=self._engine.model, error_kind="sampled") for a in answers]
        candidates = _without_repetitions(candidates, reference, counts)
        rows: list[dict[str, Any]] = []
        examinations = await self._examine(example, reference, images, candidates)
        for candidate, examination in zip(candidates, examinations, strict=True):
            if examination.warnings:  # an expert that failed has contradicted nobody, which must not count as passing
                counts["not fully examined"] += 1
                continue
            outcome = check_pair(examination.evidence)
            counts[f"{'sampled' if candidate.is_sampled else 'edited'}: {outcome}"] += 1
            if _passes(candidate, outcome):
                number = len(rows)
                rows.append(_row(example, reference, candidate, examination, outcome, number=number))
        counts["over the cap of pairs per row"] += max(0, len(rows) - self._config.pairs_per_row)
        kept = rows[: self._config.pairs_per_row]
        stored = encode_images(images) if kept else []
        return [row | {"images": stored} for row in kept]

    async def _examine(
        self, example: Example, reference: str, images: tuple[Image, ...], candidates: Sequence[Candidate]
    ) -> Sequence[Examination]:
        """What the experts found about each candidate beside the reference; they look at the images once."""
        if self._panel is None or not candidates:
            return [Examination() for _ in candidates]
        return await self._panel.examine_all(
            [
                Comparison(images=images, question=example.question, response_a=reference, response_b=candidate.text)
                for candidate in candidates
            ]
        )


def _without_repetitions(candidates: Sequence[Candidate], reference: str, counts: Counter[str]) -> list[Candidate]:
    """The candidates that say something, each once, and none that says what the reference does."""
    different: dict[str, Candidate] = {}
    for candidate in candidates:
        words = words_of(candidate.text)
        if not words or words == words_of(reference) or words in different:
            counts["repetition"] += 1
        else:
            different[words] = candidate
    return list(different.values())


def _passes(candidate: Candidate, outcome: Outcome) -> bool:
    return outcome == "error-seen" or (outcome == "not-checkable" and not candidate.is_sampled)


def run(config: PreferenceConfig, folder: RunFolder) -> None:
    """Make all shards and the card; the first process does. Raises NoPairsError if no pair was made."""
    from pyarrow.parquet import read_metadata

    if not is_first_process():
        wait_for(folder.path / RESULT)
        return
    found = read_examples(config.source, images=config.images, limit=config.limit)
    examples = with_own_ids(found.rows)
    editor = RuleEditor((e.question, e.reference) for e in examples if e.reference is not None)
    blocks = range(0, len(examples), config.rows_per_shard)
    todo = [start for start in blocks if not folder.is_done(name_shard(start))]
    if todo:
        asyncio.run(_make_shards(config, folder, examples, editor, todo))
    fates: Counter[str] = Counter({"row-skipped": len(found.skipped)})
    for start in blocks:
        fates.update(folder.result_of(name_shard(start)))
    if not any(read_metadata(path).num_rows for path in (folder.path / DATA).glob("*.parquet")):
        counted = ", ".join(f"{name}: {number:,}" for name, number in sorted(fates.items()) if number)
        raise NoPairsError(
            f"No pair was made of {len(examples):,} rows ({counted}). Look at the fate that most met: images and "
            "references that are missing, experts that do not know the objects (experts.models), or a checker that "
            "does not believe the references (experts.statements). Then run again with another output folder."
        )
    write_card(folder, dict(fates), seed=config.seed)


async def _make_shards(
    config: PreferenceConfig, folder: RunFolder, examples: Sequence[Example], editor: RuleEditor, todo: Sequence[int]
) -> None:
    engine, panel = open_engine(config.engine), open_panel(config.experts, seed=config.seed)
    await engine.start()
    try:
        known = [
            (words, tuple(pictures))
            for line in folder.read_lines(_IDENTITIES)
            if folder.is_done(line["shard"])  # one that a kill left unfinished is made again, and has been in no other
            for words, pictures in line["rows"]
        ]
        maker = PairMaker(engine, panel, editor, config, known=known)
        for start in tqdm(todo, desc="preferences", unit=f"×{config.rows_per_shard} rows"):
            num_known = len(maker.identities)
            rows, counts = await maker.make(examples[start : start + config.rows_per_shard], first_index=start)
            _write_shard(folder.path / DATA / f"{name_shard(start)}.parquet", rows)
            folder.append_line(_IDENTITIES, {"shard": name_shard(start), "rows": maker.identities[num_known:]})
            folder.mark_done(name_shard(start), dict(counts))
    finally:
        await engine.close()
        if panel is not None:
            panel.close()


def _row(
    example: Example,
    reference: str,
    candidate: Candidate,
    examination: Examination,
    outcome: Outcome,
    *,
    number: int,
) -> dict[str, Any]:
    evidence = examination.evidence.model_dump(mode="json")
    return {
        "id": f"{example.id}#{number}",
        SOURCE_ROW: example.id,
        "question": example.question,
        "chosen": reference,
        "rejected": candidate.text,
        "group": str(example.record.get("group") or ""),
        "error_kind": candidate.error_kind,
        "chosen_by": "reference",
        "rejected_by": candidate.made_by,
        "passed": outcome,
        "evidence_chosen": json.dumps(evidence["A"]),
        "evidence_rejected": json.dumps(evidence["B"]),
        "sightings": json.dumps([asdict(sighting) for sighting in examination.sightings]),
    }


def _write_shard(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    from datasets import Features, List, Value
    from datasets import Image as ImageFeature

    texts = ("question", "chosen", "rejected", "group", "error_kind", "chosen_by", "rejected_by", "passed")
    columns = ("id", SOURCE_ROW, *texts, "evidence_chosen", "evidence_rejected", "sightings")
    write_rows(path, rows, Features({"images": List(ImageFeature()), **{name: Value("string") for name in columns}}))


def _plan(config: PreferenceConfig) -> Plan:
    num_rows = count_examples(config.source, images=config.images, limit=config.limit)
    per_row = config.sampled.per_row
    detail = f"{num_rows:,} rows: {per_row} sampled answers, {config.edits_per_row} edits each"
    num_answers = num_rows * per_row
    return Plan(
        steps=(
            PlannedStep(
                name="shards",
                detail=detail,
                num_tokens=num_answers * (config.sampled.max_tokens + 300),
                seconds=num_answers / config.engine.readings_per_second
                + _SECONDS_PER_ROW * num_rows * config.experts.are_asked,
            ),
        ),
        notes=config.experts.plan_notes,
    )


JOB = Job(schema=PreferenceConfig, plan=_plan, run=run)
