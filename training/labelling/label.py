"""Labels rows with a judge: verdicts for all pairs of answers, preference rows of those that are sure.

Rows are worked on in blocks, each written as one shard of verdicts and one of preference rows; a killed run goes on
with the first unfinished block. At most a block is in memory, however many rows there are. The judge is a model in this
process, a model behind an OpenAI-compatible server, or a running service, which is asked as fast as it takes it.

Run: `vl-genrm label INPUT --output DIR`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from tqdm import tqdm

from genrm.errors import GenRMError, InvalidComparisonError
from genrm.judge import JudgeOptions
from genrm.types import Comparison
from training.evaluation.judges import JudgeChoice, PairJudge, open_judge
from training.evaluation.judging import gather_or_cancel
from training.jobs.config import JobConfig, Section
from training.jobs.run_folder import RunFolder
from training.labelling.candidates import Candidates, CandidateTable
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

_JUDGE = "judge"
"""The step whose result says who judges."""

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


class LabelConfig(JobConfig):
    """Settings of the job."""

    harmless = frozenset({"output", "concurrency", "judge.url", "judge.engine_url"})

    source: str = Field(description="Rows with image, question and two or more answers.")
    images: Path | None = Field(None, description="Folder of the source's picture files.")
    limit: int | None = Field(None, ge=1, description="Read this many rows at most.")
    judge: JudgeSection = JudgeSection()
    mode: Literal["critique", "fast"] = "critique"
    samples: int = Field(1, ge=1, description="Critiques per order.")
    experts: Literal["off", "evidence", "prompt"] = "off"
    keep: KeepRules = KeepRules()
    rows_per_shard: int = Field(256, ge=1, description="Rows worked on together and written to one file.")
    concurrency: int = Field(32, ge=1, description="Pairs judged at once.")


class Labeller:
    """Labels blocks of rows. judge: started. name: what rows say of it."""

    def __init__(self, judge: PairJudge, config: LabelConfig, name: str) -> None:
        self._judge, self._config, self._name = judge, config, name
        self._options = JudgeOptions(
            mode=config.mode,
            samples=config.samples,
            seed=config.seed if config.samples > 1 else None,
            experts=config.experts,
        )
        self._rows = asyncio.Semaphore(config.concurrency)  # bounds the pictures in memory
        self._pairs = asyncio.Semaphore(config.concurrency)

    async def label(
        self, rows: Sequence[Candidates], fates: Counter[str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Preference rows and verdict rows of a block. fates: counts what became of each pair and row.

        Raises EngineError if the judge fails.
        """
        skipped: list[Skipped] = []
        found = await gather_or_cancel(self._label_row(row, fates, skipped) for row in rows)
        log_skipped(skipped)
        return [dpo for dpos, _ in found for dpo in dpos], [each for _, verdicts in found for each in verdicts]

    async def _label_row(
        self, row: Candidates, fates: Counter[str], skipped: list[Skipped]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        async with self._rows:
            try:
                images = await asyncio.to_thread(row.load_images)
                labelled = await gather_or_cancel(self._judge_pair(row, images, *places) for places in row.pairs)
            except (RowError, InvalidComparisonError) as error:
                fates["row skipped"] += 1
                skipped.append(Skipped(id=row.id, reason=str(error)))
                return [], []
            kept, dropped = choose(labelled, self._config.keep)
            stored = await asyncio.to_thread(encode_images, images) if kept else []
        fates["kept"] += len(kept)
        fates.update(reason for _, reason in dropped)
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


def run(config: LabelConfig, folder: RunFolder) -> dict[str, Any]:
    """Label what is left and write the summary, which is returned. Raises SourceError, OtherJudgeError, EngineError."""
    from datasets import disable_progress_bars

    disable_progress_bars()  # one per file that is written, between the lines of ours
    table = CandidateTable(config.source, images=config.images, limit=config.limit)
    todo = [(start, stop) for start, stop in table.blocks(config.rows_per_shard) if not folder.is_done(_shard(start))]
    if todo:
        asyncio.run(_label_blocks(config, folder, table, todo))
    fates: Counter[str] = Counter()
    for start, _ in table.blocks(config.rows_per_shard):
        fates.update(folder.result_of(_shard(start)))
    if not sum(number for fate, number in fates.items() if fate != "row skipped"):
        raise SourceError(
            f"None of the {table.num_rows:,} rows of {config.source} could be judged; the log says why for the first "
            "ones. Name the fields and the folder of the images as the message says."
        )
    return write_summary(folder, fates, config.keep, folder.result_of(_JUDGE))


async def _label_blocks(
    config: LabelConfig, folder: RunFolder, table: CandidateTable, todo: Sequence[tuple[int, int]]
) -> None:
    chosen = config.judge
    judge = open_judge(
        JudgeChoice(
            model=chosen.model,
            adapter=chosen.adapter,
            url=chosen.url,
            engine_url=chosen.engine_url,
            expert=chosen.expert,
            with_experts=config.experts != "off" and chosen.url is None,
        )
    )
    try:
        await judge.start()
        described = judge.describe()
        _refuse_other(folder, described)
        labeller = Labeller(judge, config, str(described["model"]))
        num_done = table.num_rows - sum(stop - start for start, stop in todo)
        with tqdm(total=table.num_rows, initial=num_done, desc="label", unit="row", smoothing=0.05) as bar:
            for start, stop in todo:
                block = table.read(start, stop)
                log_skipped(block.skipped)
                fates = Counter({"row skipped": len(block.skipped)})
                dpo_rows, verdict_rows = await labeller.label(block.rows, fates)
                write_verdict_rows(folder.path / VERDICTS / f"{_shard(start)}.parquet", verdict_rows)
                write_dpo_rows(folder.path / DPO / f"{_shard(start)}.parquet", dpo_rows)
                folder.mark_done(_shard(start), dict(fates))
                bar.update(stop - start)
    finally:
        await judge.close()


def _refuse_other(folder: RunFolder, described: dict[str, object]) -> None:
    """Note who judges, or raise OtherJudgeError if another one began."""
    if not folder.is_done(_JUDGE):
        folder.mark_done(_JUDGE, described)
    elif folder.result_of(_JUDGE) != described:
        raise OtherJudgeError(
            f"{folder.path} was begun with the judge {folder.result_of(_JUDGE)}, and now it is {described}. Name "
            "another --output, or give the same judge to go on."
        )


def _shard(start: int) -> str:
    return f"rows-{start:08}"
