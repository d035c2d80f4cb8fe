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
from dataclasses import asdict, dataclass, replace
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
    """Every size in every mode with every strategy."""
    seen = Beginnings()
    engine = InProcessEngine(model, on_batch=seen)
    await engine.start()
    picture = Image.open(SAMPLE).convert("RGB")
    try:
        figures = []
        for size, mode, strategy in product(sizes, modes, STRATEGIES):
            found = [
                await _rank(engine, seen, picture, size, mode=mode, strategy=strategy, number=number)
                for number in range(rounds)
            ]
            figures.append(replace(found[-1], seconds=statistics.median(each.seconds for each in found)))
        return figures
    finally:
        await engine.close()


async def _rank(
    engine: InProcessEngine, seen: Beginnings, picture: Image.Image, size: int, *, mode: Mode, strategy: Strategy,
    number: int,
) -> Figures:  # fmt: skip
    """One ranking. number: makes the question another one, so that nothing of it is known."""
    counts = list(product(range(2, 10), range(2, 10)))[:size]
    candidates = [f"There are {toilets} toilets and {backpacks} backpacks." for toilets, backpacks in counts]
    found_before, computed_before = seen.found, seen.computed
    started = time.perf_counter()
    found = await rank_candidates(
        Judge(engine),
        (picture,),
        f"Describe the image ({size}, {mode}, {strategy}, {number}).",
        candidates,
        strategy=strategy,
        options=JudgeOptions(mode=mode),
    )
    return Figures(
        num_candidates=size,
        mode=mode,
        strategy=strategy,
        seconds=time.perf_counter() - started,
        judgements=found.num_judgements,
        prompt_tokens=found.usage.prompt_tokens,
        computed_tokens=found.usage.prompt_tokens - found.usage.cached_tokens,
        beginnings_computed=seen.computed - computed_before,
        beginnings_found=seen.found - found_before,
    )


if __name__ == "__main__":
    main()
