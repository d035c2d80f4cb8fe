"""What all evaluations are told: which rows, which judge, how, and where the results go."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genrm.judge import JudgeOptions
from genrm.types import Verdict
from training.evaluation.judges import PairJudge
from training.evaluation.judging import Judging, open_judging, without_images
from training.jobs.environment import describe_environment
from training.sources import Pair, Rows, read_pairs
from training.tables import SourceError

WITHOUT_EXPERTS = JudgeOptions(experts="off")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """An evaluation to be made. judge: not started.

    image_folder: where picture files lie, if not beside the rows. show_images: False shows a grey picture in place of
    all. limit: rows read at most. seed: of intervals, draws and sampled critiques.
    """

    source: str
    output: Path
    judge: PairJudge
    options: JudgeOptions = WITHOUT_EXPERTS
    image_folder: Path | None = None
    show_images: bool = True
    limit: int | None = None
    seed: int = 0
    concurrency: int = 32

    def read_pairs(self) -> Rows[Pair]:
        """The labelled comparisons of the source. Raises SourceError."""
        found = read_pairs(self.source, images=self.image_folder, limit=self.limit)
        return found if self.show_images else replace(found, rows=[without_images(pair) for pair in found.rows])

    @asynccontextmanager
    async def judging(self) -> AsyncIterator[Judging]:
        """The judge at work, closed at the end."""
        try:
            await self.judge.start()
            yield open_judging(self.judge, self.options, self.output, concurrency=self.concurrency)
        finally:
            await self.judge.close()

    def settings(self) -> dict[str, Any]:
        """What a report is made from."""
        return {
            "source": self.source,
            "limit": self.limit,
            "images": self.show_images,
            "seed": self.seed,
            "judge": self.judge.describe(),
            "options": asdict(self.options),
            "environment": describe_environment(),
        }


def keep_judged(pairs: Sequence[Pair], *verdicts: Sequence[Verdict | None]) -> tuple[list[Pair], list[list[Verdict]]]:
    """The pairs that have all their verdicts, and these in the same order. Raises SourceError if no pair has."""
    rows = [
        (pair, [verdict for verdict in found if verdict is not None])
        for pair, *found in zip(pairs, *verdicts, strict=True)
    ]
    whole = [row for row in rows if len(row[1]) == len(verdicts)]
    if not whole:
        raise SourceError(
            f"None of the {len(pairs)} pairs could be judged; the log says why for each of the first ones."
        )
    return [pair for pair, _ in whole], [[found[i] for _, found in whole] for i in range(len(verdicts))]
