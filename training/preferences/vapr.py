"""Hard negatives after VaPR (arXiv 2510.01700): references in, the same with one error beside them out.

Per reference an error kind is chosen by the task, an editor makes the error, and what comes back is refused if it is
too far from the reference in length, words or style, if it still follows from the reference, or if vision experts see
that it is true of the image. Refused ones are tried again. Extra yes-or-no questions are answered yes as often as no.
At the end pairs are dropped until classifiers that see only the texts cannot tell chosen from rejected.

Known from the paper: guided edits of the reference, style and length kept, editors large and small. Ours: the kinds,
prompts, limits, filters and the balancing; see docs/design/vapr.md.

    data/              preference rows as TRL reads them, one file per block of source rows
    dropped.jsonl      pairs that were dropped for balance, refused/: edits that were refused, both with the reason
    README.md          the report, with plots

A killed run goes on with the first unfinished block and makes the same rows.

Run: `vl-genrm train vapr CONFIG`.
"""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field
from tqdm import tqdm

from experts.panel import ExpertPanel
from genrm.engines.contract import Engine
from training.engines import HARMLESS, EngineChoice, open_engine
from training.jobs.config import JobConfig
from training.jobs.files import replacing, write_text
from training.jobs.job import Job
from training.jobs.plan import Plan, PlannedStep
from training.jobs.processes import is_first_process, wait_for
from training.jobs.run_folder import RESULT, RunFolder, name_shard
from training.preference_rows import write_preference_rows
from training.preferences.experts import Experts, open_panel
from training.preferences.pairs import NoPairsError, with_own_ids
from training.sources import SOURCE_ROW, Example, count_examples, read_examples
from training.vapr.balance import Balance, choose_dropped
from training.vapr.editors import Editor, EditorChoice
from training.vapr.limits import Limits, open_counter
from training.vapr.making import NUMBERS, TEXTS, Made, Pair, PairMaker
from training.vapr.model_editor import ModelEditor
from training.vapr.naive_editor import NaiveEditor
from training.vapr.report import DATA, read_pair_texts, write_report
from training.vapr.rule_editor import RulesEditor
from training.vapr.verifying import EditVerifier, VerifierChoice
from training.vapr.yes_no import YesNo, YesNoMaker, list_objects

ACCEPTED = "accepted"
"""Folder of all pairs that passed, until those are dropped that unbalance them."""
DROPPED = "dropped.jsonl"
REFUSED = "refused"
_BALANCE = "balance"
_IDENTITIES = "rows.jsonl"
_SECONDS_PER_ROW = 0.05
"""Of experts, about, whatever the model."""
_TOKENS_PER_PROMPT = 300


class VaprConfig(JobConfig):
    """Settings of the job."""

    harmless = frozenset(
        {"beside"} | {f"{part}.{key}" for part in ("editor", "verifier") for key in HARMLESS} | {"output"}
    )

    source: str = Field(description="Rows with image, question and reference; see `training.tables`.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    limit: int | None = Field(None, ge=1, description="Read this many rows at most.")
    editor: EditorChoice = EditorChoice()
    limits: Limits = Limits()
    verifier: VerifierChoice = VerifierChoice()
    experts: Experts = Experts()
    yes_no: YesNo = YesNo()
    balance: Balance = Balance()
    attempts: int = Field(
        4, ge=1, description="Attempts per pair, each with another kind or seed, before it is given up."
    )
    pairs_per_row: int = Field(1, ge=1, description="Different edits per reference.")
    beside: Path | None = Field(
        None, description="Folder of another run, e.g. naive or of another seed, to compare with."
    )
    rows_per_shard: int = Field(256, ge=1, description="Source rows worked on together and written to one file.")

    @property
    def is_checked(self) -> bool:
        """Whether limits, verifier, experts, extra questions and balance have a part; not for naive negatives."""
        return self.editor.kind != "naive"


def run(config: VaprConfig, folder: RunFolder) -> None:
    """Make all pairs, balance them and report; the first process does. Raises NoPairsError if no pair was made."""
    from datasets import disable_progress_bars

    if not is_first_process():
        wait_for(folder.path / RESULT)
        return
    disable_progress_bars()  # one per file that is written, between the lines of ours
    found = read_examples(config.source, images=config.images, limit=config.limit)
    examples = with_own_ids(found.rows)
    starts = range(0, len(examples), config.rows_per_shard)
    todo = [start for start in starts if not folder.is_done(name_shard(start))]
    if todo:
        asyncio.run(_make_shards(config, folder, examples, todo))
    counts: Counter[str] = Counter({"row skipped": len(found.skipped)})
    fates: dict[str, Counter[str]] = {}
    for start in starts:
        result = folder.result_of(name_shard(start))
        counts.update(result["counts"])
        for kind, each in result["fates"].items():
            fates.setdefault(kind, Counter()).update(each)
    _require_pairs(fates, counts, len(examples))
    if not folder.is_done(_BALANCE):
        _balance(config, folder)
    balanced = folder.result_of(_BALANCE)
    for start in starts:
        _keep_balanced(folder, name_shard(start))
    write_report(
        folder,
        counts=counts,
        fates=fates,
        num_dropped=balanced["num_dropped"],
        before=balanced["before"],
        beside=config.beside,
        seed=config.seed,
    )
    shutil.rmtree(folder.path / ACCEPTED, ignore_errors=True)


def _require_pairs(fates: Mapping[str, Counter[str]], counts: Mapping[str, int], num_rows: int) -> None:
    if not any(each["kept"] for each in fates.values()):
        together: Counter[str] = Counter(counts)
        for each in fates.values():
            together.update(each)
        counted = ", ".join(f"{name}: {number:,}" for name, number in sorted(together.items()) if number)
        raise NoPairsError(
            f"No pair was made of {num_rows:,} rows ({counted}). Look at the fate that most met and at refused/: "
            "images or references that are missing, an editor that does not answer in the form asked (editor.prompt), "
            "or limits that are too narrow (limits.*)."
        )


async def _make_shards(config: VaprConfig, folder: RunFolder, examples: Sequence[Example], todo: Sequence[int]) -> None:
    async with _Tools.open(config, examples) as tools:
        maker = _build_maker(config, folder, tools)
        for start in tqdm(todo, desc="vapr", unit=f"×{config.rows_per_shard} rows"):
            num_known = len(maker.identities)
            made = await maker.make(examples[start : start + config.rows_per_shard])
            _write_shard(folder, name_shard(start), made)
            folder.append_line(_IDENTITIES, {"shard": name_shard(start), "rows": maker.identities[num_known:]})
            fates = {kind: dict(each) for kind, each in made.fates.items()}
            folder.mark_done(
                name_shard(start), {"counts": dict(made.counts), "fates": fates, "num_pairs": len(made.rows)}
            )


@dataclass(kw_only=True, slots=True)
class _Tools:
    """What pairs are made with, opened."""

    editor: Editor
    verifier: EditVerifier | None
    panel: ExpertPanel | None
    yes_no: YesNoMaker | None
    engines: Sequence[Engine]

    @classmethod
    def open(cls, config: VaprConfig, examples: Sequence[Example]) -> "_Tools":
        """Nothing is started yet. Editor and verifier share a model that both name."""
        exchanges = [(e.question, e.reference) for e in examples if e.reference is not None]
        engines: dict[EngineChoice, Engine] = {}

        def open_once(choice: EngineChoice) -> Engine:
            if choice not in engines:
                engines[choice] = open_engine(choice)
            return engines[choice]

        editor: Editor
        match config.editor.kind:
            case "rules":
                editor = RulesEditor(exchanges, draws=config.editor.draws)
            case "naive":
                references = [reference for _, reference in exchanges]
                editor = NaiveEditor(references, list_objects(references))
            case "model":
                editor = ModelEditor(open_once(config.editor.engine), config.editor)
            case "endpoint":
                editor = ModelEditor(None, config.editor)
        if not config.is_checked:
            return cls(editor=editor, verifier=None, panel=None, yes_no=None, engines=())
        asks = config.verifier.kind == "model"
        verifier = EditVerifier(config.verifier, open_once(config.verifier.engine) if asks else None)
        panel = open_panel(config.experts, seed=config.seed)
        yes_no = YesNoMaker(exchanges, with_experts=panel is not None) if config.yes_no.share else None
        return cls(editor=editor, verifier=verifier, panel=panel, yes_no=yes_no, engines=list(engines.values()))

    async def __aenter__(self) -> Self:
        try:
            for engine in self.engines:
                await engine.start()
            await self.editor.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.editor.close()
        for engine in self.engines:
            await engine.close()
        if self.panel is not None:
            self.panel.close()


def _build_maker(config: VaprConfig, folder: RunFolder, tools: _Tools) -> PairMaker:
    """A maker that goes on from the finished blocks."""
    known = [
        (words, tuple(pictures))
        for line in folder.read_lines(_IDENTITIES)
        if folder.is_done(line["shard"])  # a shard that a kill left unfinished is made again
        for words, pictures in line["rows"]
    ]
    accepted = [
        Pair(
            kind="yes-no" if row["question_kind"] == "yes-no" else row["error_kind"],
            chosen=row["chosen"],
            rejected=row["rejected"],
        )
        for path in sorted((folder.path / ACCEPTED).glob("*.parquet"))
        if folder.is_done(path.stem) and folder.result_of(path.stem)["num_pairs"]
        for row in read_pair_texts(path)
    ]
    return PairMaker(
        tools.editor,
        limits=config.limits if config.is_checked else None,
        count_tokens=open_counter(config.limits),
        verifier=tools.verifier,
        panel=tools.panel,
        yes_no=tools.yes_no,
        share_yes_no=config.yes_no.share,
        attempts=config.attempts,
        pairs_per_row=config.pairs_per_row,
        seed=config.seed,
        accepted=accepted,
        known=known,
    )


def _write_shard(folder: RunFolder, shard: str, made: Made) -> None:
    lines = "".join(json.dumps(refused, ensure_ascii=False) + "\n" for refused in made.refused)
    write_text(folder.path / REFUSED / f"{shard}.jsonl", lines)
    write_preference_rows(folder.path / ACCEPTED / f"{shard}.parquet", made.rows, texts=TEXTS, numbers=NUMBERS)


def _balance(config: VaprConfig, folder: RunFolder) -> None:
    """Choose which pairs must go and write them down."""
    rows = read_pair_texts(folder.path / ACCEPTED)
    settings = config.balance if config.is_checked else Balance(max_accuracy=1)
    balanced = choose_dropped(rows, settings, seed=config.seed)
    columns = ("id", SOURCE_ROW, "question", "chosen", "rejected", "error_kind", "question_kind")
    lines = [
        json.dumps({name: rows[i][name] for name in columns} | {"because": "dropped for balance"}, ensure_ascii=False)
        for i in sorted(balanced.dropped)
    ]
    write_text(folder.path / DROPPED, "".join(f"{line}\n" for line in lines))
    result: dict[str, Any] = {"num_dropped": len(balanced.dropped), "before": balanced.before}
    folder.mark_done(_BALANCE, result)


def _keep_balanced(folder: RunFolder, shard: str) -> None:
    """Write a shard's rows without those that were dropped."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    step = f"{DATA}-{shard}"
    if folder.is_done(step):
        return
    dropped = [line["id"] for line in folder.read_lines(DROPPED)]
    table = pq.read_table(folder.path / ACCEPTED / f"{shard}.parquet")
    keep = pc.invert(pc.is_in(table["id"], value_set=pa.array(dropped, pa.string())))
    with replacing(folder.path / DATA / f"{shard}.parquet") as new:
        pq.write_table(table.filter(keep), new)
    folder.mark_done(step)


def _plan(config: VaprConfig) -> Plan:
    num_rows = count_examples(config.source, images=config.images, limit=config.limit)
    num_pairs = num_rows * config.pairs_per_row
    asks_editor, asks_verifier = config.editor.kind in ("model", "endpoint"), config.verifier.kind == "model"
    replies = num_pairs * config.editor.candidates * asks_editor
    checks = num_pairs * (asks_verifier and config.is_checked)
    seconds = replies / config.editor.engine.readings_per_second + checks / config.verifier.engine.readings_per_second
    tokens = replies * (_TOKENS_PER_PROMPT + min(config.editor.max_tokens, _TOKENS_PER_PROMPT))
    edits = f"{config.pairs_per_row} edits each by {config.editor.kind}"
    detail = f"{num_rows:,} rows, {edits}, up to {config.attempts} attempts"
    return Plan(
        steps=(
            PlannedStep(
                name="shards",
                detail=detail,
                num_tokens=tokens + checks * _TOKENS_PER_PROMPT,
                seconds=seconds + _SECONDS_PER_ROW * num_rows * (config.is_checked and config.experts.are_asked),
            ),
            PlannedStep(
                name=_BALANCE,
                detail="drop pairs that texts alone give away",
                num_tokens=0,
                seconds=0.02 * num_pairs * config.is_checked,
            ),
        ),
        notes=(
            "Tokens and time are of one attempt per pair; refused edits cost as much again.",
            *config.experts.plan_notes,
        ),
    )


JOB = Job(schema=VaprConfig, plan=_plan, run=run)
