"""Labels rows with a judge: verdicts for all pairs of answers, preference rows of those that are sure.

Rows are worked on in blocks, each written as one shard of verdicts and one of preference rows; a killed run goes on
with the first unfinished block. At most a block is in memory, however many rows there are. The judge is a model in this
process, a model behind an OpenAI-compatible server, or a running service, which is asked as fast as it takes it. Who
works on the blocks is a runner: `label_here`, one block after the other, or `training.labelling.ray_runner`.

Run: `vl-genrm label INPUT --output DIR`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from tqdm import tqdm

from genrm.errors import GenRMError, InvalidComparisonError
from genrm.evidence import ExpertUse
from genrm.judge import JudgeOptions
from genrm.types import Comparison
from training.evaluation.judges import JudgeChoice, PairJudge, open_judge
from training.evaluation.judging import gather_or_cancel
from training.html_report.labelled import leave_label_page
from training.jobs.config import JobConfig, Section
from training.jobs.run_folder import RunFolder, name_shard
from training.labelling.candidates import Candidates, CandidateTable
from training.labelling.finished import JUDGE, adopt_finished, drop_notes
from training.labelling.rules import KeepRules, Labelled, choose
from training.labelling.summary import write_summary
from training.labelling.tables import (
    DPO,
    VERDICTS,
    make_dpo_row,
    make_verdict_row,
    write_dpo_rows,
    write_verdict_rows,
)
from training.preference_rows import encode_images
from training.sources import RowError, Skipped, log_skipped
from training.tables import SourceError

_logger = logging.getLogger(__name__)


class OtherJudgeError(GenRMError, ValueError):
    """The output folder holds labels of another judge. Name another folder, or that judge."""


class JudgeSection(Section):
    """Who judges; the shipped judge if nothing is named."""

    model: str | None = Field(None, description="Folder or hub id; behind engine_url its name there.")
    adapter: str | None = Field(None, description="PEFT adapter of the model.")
    url: str | None = Field(None, description="A running service of ours.")
    engine_url: str | None = Field(None, description="OpenAI-compatible server that runs the model.")
    expert: str | None = Field(None, description="Grounding DINO folder or hub id; default: the shipped one.")
    statements: str | None = Field(
        None,
        min_length=1,
        description="Folder or hub id of a model that checks statements, or shipped; none by default.",
    )


class LabelConfig(JobConfig):
    """Settings of the job."""

    harmless = frozenset({"output", "concurrency", "judge.url", "judge.engine_url"})

    source: str = Field(description="Rows with image, question and two or more answers.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    limit: int | None = Field(None, ge=1, description="Read this many rows at most.")
    judge: JudgeSection = JudgeSection()
    mode: Literal["critique", "fast"] = "critique"
    samples: int = Field(1, ge=1, description="Critiques per order.")
    experts: ExpertUse = "off"
    keep: KeepRules = KeepRules()
    rows_per_shard: int = Field(256, ge=1, description="Rows worked on together and written to one file.")
    concurrency: int = Field(32, ge=1, description="Pairs judged at once.")


def choose_judge(config: LabelConfig) -> JudgeChoice:
    """The judge that the configuration describes. Raises ValueError for options that exclude each other."""
    with_experts = config.experts != "off" and config.judge.url is None  # a service has its own
    return JudgeChoice(**config.judge.model_dump(), with_experts=with_experts)


@dataclass(kw_only=True, slots=True)
class ShardOutcome:
    """What became of the rows of a shard. fates: how many pairs met which, and `row skipped`."""

    fates: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, row: Skipped) -> None:
        """Count a row that cannot be judged."""
        self.fates["row skipped"] += 1
        self.skipped.append(row)


class ShardLabeller:
    """Labels shards of a table and writes their files, with the configured judge. `start` it first, `close` it last."""

    def __init__(self, config: LabelConfig, table: CandidateTable) -> None:
        self._judge: PairJudge = open_judge(choose_judge(config))
        self._config, self._table, self._name = config, table, ""
        self._options = JudgeOptions(
            mode=config.mode,
            samples=config.samples,
            seed=config.seed if config.samples > 1 else None,
            experts=config.experts,
        )
        self._rows = asyncio.Semaphore(config.concurrency)  # bounds the pictures in memory
        self._pairs = asyncio.Semaphore(config.concurrency)

    async def start(self) -> dict[str, object]:
        """Load or reach the judge; how it describes itself is returned. Raises ModelLoadError, EngineError."""
        await self._judge.start()
        described = self._judge.describe()
        self._name = str(described["model"])
        return described

    async def label(self, start: int, stop: int) -> ShardOutcome:
        """Judge the rows from `start` to before `stop` and write their verdicts and preference rows.

        The latter come last, so a shard with them is whole. Raises EngineError if the judge fails, DiskFullError.
        """
        block, outcome = self._table.read(start, stop), ShardOutcome()
        for row in block.skipped:
            outcome.skip(row)
        found = await gather_or_cancel(self._label_row(row, outcome) for row in block.rows)
        file, folder = f"{name_shard(start)}.parquet", self._config.output
        write_verdict_rows(folder / VERDICTS / file, [each for _, verdicts in found for each in verdicts])
        write_dpo_rows(folder / DPO / file, [dpo for dpos, _ in found for dpo in dpos])
        return outcome

    async def close(self) -> None:
        """Let go of the judge."""
        await self._judge.close()

    async def _label_row(
        self, row: Candidates, outcome: ShardOutcome
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        async with self._rows:
            try:
                images = await asyncio.to_thread(row.load_images)
                labelled = await gather_or_cancel(self._judge_pair(row, images, *places) for places in row.pairs)
            except (RowError, InvalidComparisonError) as error:
                outcome.skip(Skipped(id=row.id, reason=str(error)))
                return [], []
            kept, dropped = choose(labelled, self._config.keep)
            stored = await asyncio.to_thread(encode_images, images) if kept else []
        outcome.fates["kept"] += len(kept)
        outcome.fates.update(reason for _, reason in dropped)
        verdicts = [make_verdict_row(row, one, None, self._name) for one in kept]
        verdicts += [make_verdict_row(row, one, reason, self._name) for one, reason in dropped]
        return [make_dpo_row(row, one, stored, self._name) for one in kept], verdicts

    async def _judge_pair(self, row: Candidates, images: tuple[Any, ...], first: int, second: int) -> Labelled:
        comparison = Comparison(
            images=images, question=row.question, response_a=row.answers[first], response_b=row.answers[second]
        )
        async with self._pairs:
            verdict = await self._judge.judge(comparison, self._options)
        return Labelled(row_id=row.id, first=first, second=second, verdict=verdict)


Blocks = Sequence[tuple[int, int]]
"""Where blocks of rows begin, and before which row they end."""

Runner = Callable[[LabelConfig, RunFolder, CandidateTable, Blocks], None]
"""Labels blocks of a table: for each, its files are written before the folder is told that it is done."""


def label_here(config: LabelConfig, folder: RunFolder, table: CandidateTable, todo: Blocks) -> None:
    """The runner that opens one judge in this process and works on one block after the other."""
    asyncio.run(_label_blocks(config, folder, table, todo))


def run(config: LabelConfig, folder: RunFolder, runner: Runner = label_here) -> dict[str, Any]:
    """Label what is left and write the summary, which is returned. Raises SourceError, OtherJudgeError, EngineError."""
    from datasets import disable_progress_bars

    disable_progress_bars()  # one per file that is written, between the lines of ours
    table = CandidateTable(config.source, images=config.images, limit=config.limit)
    adopt_finished(folder)
    blocks = list(table.blocks(config.rows_per_shard))
    if todo := [(start, stop) for start, stop in blocks if not folder.is_done(name_shard(start))]:
        runner(config, folder, table, todo)
    fates: Counter[str] = Counter()
    for start, _ in blocks:
        fates.update(folder.result_of(name_shard(start)))
    drop_notes(folder)
    if not sum(number for fate, number in fates.items() if fate != "row skipped"):
        raise SourceError(
            f"None of the {table.num_rows:,} rows of {config.source} could be judged; the log says why for the first "
            "ones. Name the fields and the folder of the images as the message says."
        )
    result = write_summary(folder, fates, config.keep, folder.result_of(JUDGE))
    leave_label_page(folder.path, result, table, rows_per_shard=config.rows_per_shard)
    return result


def refuse_other_judge(folder: RunFolder, described: object) -> None:
    """Note who judges, or raise OtherJudgeError if another one began."""
    if not folder.is_done(JUDGE):
        folder.mark_done(JUDGE, described)
    elif folder.result_of(JUDGE) != described:
        raise OtherJudgeError(
            f"{folder.path} was begun with the judge {folder.result_of(JUDGE)}, and now it is {described}. Name "
            "another --output, or give the same judge to go on."
        )


def show_progress(table: CandidateTable, todo: Blocks) -> "tqdm[Any]":
    """A bar of rows with the time that is left; those of earlier starts count as done."""
    num_done = table.num_rows - sum(stop - start for start, stop in todo)
    return tqdm(total=table.num_rows, initial=num_done, desc="label", unit="row", smoothing=0.05)


async def _label_blocks(config: LabelConfig, folder: RunFolder, table: CandidateTable, todo: Blocks) -> None:
    labeller = ShardLabeller(config, table)
    try:
        refuse_other_judge(folder, await labeller.start())
        with show_progress(table, todo) as bar:
            for start, stop in todo:
                outcome = await labeller.label(start, stop)
                log_skipped(outcome.skipped)
                folder.mark_done(name_shard(start), dict(outcome.fates))
                bar.update(stop - start)
    finally:
        await labeller.close()
