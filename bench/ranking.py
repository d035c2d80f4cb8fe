"""What ranking N candidates costs: seconds, judgements, and the tokens that were computed once for all of them.

Uses the in-process engine and the shipped judge on a sample scene, without HTTP and without experts. `beginnings`
counts how often images and question were computed and how often they were found computed
(`genrm.engines.prefix_cache`).

Run: `python bench/ranking.py`, `python bench/ranking.py --candidates 8 16 --mode fast critique --json ranking.json`. A
minute on 2 cores.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from PIL import Image

from genrm.best_of_n import rank_candidates
from genrm.engines.in_process import InProcessEngine
from genrm.engines.progress import BatchEvent
from genrm.judge import Judge, JudgeOptions
from genrm.ranking import STRATEGIES, Strategy
from genrm.shipped import judge_folder
from genrm.types import Mode

SAMPLE = Path(__file__).parents[1] / "pocket" / "samples" / "pocket-held-out-1-0.png"
MODES: tuple[Mode, ...] = ("fast", "critique")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One kind of ranking. seconds: median over rounds. The rest is of one ranking."""

    num_candidates: int
    mode: Mode
    strategy: Strategy
    seconds: float
    judgements: int
    prompt_tokens: int
    computed_tokens: int
    beginnings_computed: int
    beginnings_found: int


class Beginnings:
    """Counts what the engine reports."""

    def __init__(self) -> None:
        self.found = self.computed = 0

    def __call__(self, event: BatchEvent) -> None:
        """One piece of work."""
        self.found += event.num_prefix_hits
        self.computed += event.num_prefix_misses


def main() -> None:
    """Measure and print; write the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(judge_folder()))
    parser.add_argument("--candidates", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--mode", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments.model, arguments.candidates, arguments.mode, rounds=arguments.rounds))
    for row in figures:
        print(
            f"N = {row.num_candidates:2d}, {row.mode:8s} {row.strategy:9s} {row.seconds:6.2f} s, {row.judgements:3d} "
            f"judgements, {row.computed_tokens:,} of {row.prompt_tokens:,} prompt tokens computed, beginnings computed "
            f"{row.beginnings_computed}, found {row.beginnings_found}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in figures], indent=1) + "\n", encoding="utf-8")


async def measure(model: str, sizes: list[int], modes: list[Mode], *, rounds: int) -> list[Figures]:
    """Every size in every mode with every strategy; each round asks another question, so that nothing is known."""
    seen = Beginnings()
    engine = InProcessEngine(model, on_batch=seen)
    await engine.start()
    picture = Image.open(SAMPLE).convert("RGB")
    figures = []
    try:
        for size, mode, strategy in product(sizes, modes, STRATEGIES):
            candidates = [f"There are {toilets} toilets and {backpacks} backpacks." for toilets, backpacks in
                          list(product(range(2, 10), range(2, 10)))[:size]]  # fmt: skip
            seconds, before = [], (0, 0)
            for number in range(rounds):
                before = seen.found, seen.computed
                started = time.perf_counter()
                found = await rank_candidates(
                    Judge(engine), (picture,), f"Describe the image ({size}, {mode}, {strategy}, {number}).",
                    candidates, strategy=strategy, options=JudgeOptions(mode=mode),
                )  # fmt: skip
                seconds.append(time.perf_counter() - started)
            figures.append(
                Figures(
                    num_candidates=size,
                    mode=mode,
                    strategy=strategy,
                    seconds=statistics.median(seconds),
                    judgements=found.num_judgements,
                    prompt_tokens=found.usage.prompt_tokens,
                    computed_tokens=found.usage.prompt_tokens - found.usage.cached_tokens,
                    beginnings_computed=seen.computed - before[1],
                    beginnings_found=seen.found - before[0],
                )
            )
    finally:
        await engine.close()
    return figures


if __name__ == "__main__":
    main()
