"""Labelling in one process: whether memory stays flat however many rows, and how fast it is beside the engine alone.

`vl-genrm label` works on pocket comparisons in a process of its own, which is watched: how many rows are done, and how
much memory it holds. Memory is compared between the rows after `--early` and the last ones; it may grow by 5 %. Before
and after, the in-process engine reads prompts of the same comparisons, `--at-once` together, both orders, with nothing
around it; labelling may be slower than the mean of the two by 15 %. Loading and the first shard do not count.

Run: `python bench/label.py --rows 20000 --out label.json --plot label.png`; about 40 minutes on 2 cores, `--mode fast`
a third of it.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

from bench.running_service import Figure, finish, run_apart, say
from bench.serving import read_memory
from genrm.engines.contract import Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.judge import JudgeOptions
from genrm.plots import open_axes
from genrm.prompts import render_prompt
from genrm.shipped import judge_folder
from genrm.types import Comparison, Mode
from training.jobs.files import read_json
from training.jobs.run_folder import STATE, name_shard
from training.labelling.candidates import CandidateTable

_SAMPLE_SECONDS = 2.0
_MAX_GROWTH_PERCENT = 5.0
_LEAST_SPEED = 0.85


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The labelling at one moment. seconds: since its start."""

    seconds: float
    num_rows: int
    rss_mib: float


def measure_engine(source: str, num_pairs: int, *, at_once: int, mode: Mode) -> float:
    """Comparisons per second of the engine alone, both orders."""
    rows = CandidateTable(source, limit=num_pairs).read(0, num_pairs).rows
    pairs = [
        Comparison(
            images=row.load_images(), question=row.question, response_a=row.answers[0], response_b=row.answers[1]
        )
        for row in rows
    ]
    prompts = [[render_prompt(pair, first=first, mode=mode) for first in ("A", "B")] for pair in pairs]
    sampling = Sampling(max_tokens=1 if mode == "fast" else JudgeOptions().max_tokens)

    async def work() -> float:
        engine = InProcessEngine(str(judge_folder()), max_prefix_tokens=0)  # every picture is a new one
        await engine.start()
        try:
            await engine.complete(prompts[0], sampling)
            begun = time.perf_counter()
            for start in range(0, len(prompts), at_once):
                await asyncio.gather(*(engine.complete(pair, sampling) for pair in prompts[start : start + at_once]))
            return len(prompts) / (time.perf_counter() - begun)
        finally:
            await engine.close()

    return asyncio.run(work())


def watch_labelling(arguments: Sequence[str], output: Path, num_rows: int, rows_per_shard: int) -> list[Sample]:
    """Run the command to its end and look at it every two seconds. Raises CalledProcessError if it fails."""
    command = (sys.executable, "-m", "genrm.cli", "label", *arguments, "--output", str(output))
    begun = time.perf_counter()
    samples: list[Sample] = []
    with subprocess.Popen((*command, "--rows-per-shard", str(rows_per_shard))) as process:  # noqa: S603 - our own words
        while process.poll() is None:
            memory = read_memory(process.pid)
            if "rss_mib" in memory:
                done = read_json(output / STATE) or {}
                starts = [start for start in range(0, num_rows, rows_per_shard) if name_shard(start) in done]
                num_done = sum(min(rows_per_shard, num_rows - start) for start in starts)
                seconds = time.perf_counter() - begun
                samples.append(Sample(seconds=seconds, num_rows=num_done, rss_mib=memory["rss_mib"]))
            time.sleep(_SAMPLE_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return samples


def find_memory(samples: Sequence[Sample], early: int) -> tuple[float, float] | None:
    """Median memory (MiB) from `early` rows on, over a tenth of the rest, and over the last tenth; None if too few."""
    working = [each for each in samples if each.num_rows >= early]
    tenth = len(working) // 10
    if not tenth:
        return None
    return median(each.rss_mib for each in working[:tenth]), median(each.rss_mib for each in working[-tenth:])


def find_speed(samples: Sequence[Sample]) -> float | None:
    """Rows per second between the first and the last shard that were seen to end; None if there are not two."""
    ends = [after for before, after in pairwise(samples) if after.num_rows > before.num_rows]
    if len(ends) < 2:
        return None
    return (ends[-1].num_rows - ends[0].num_rows) / (ends[-1].seconds - ends[0].seconds)


def plot(samples: Sequence[Sample], file: Path) -> None:
    """Draw memory over rows."""
    with open_axes(file, figsize=(8, 4)) as (axis,):
        axis.plot([each.num_rows for each in samples], [each.rss_mib for each in samples])
        axis.set(xlabel="rows labelled", ylabel="memory (MiB)", ylim=(0, None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="comparisons to label")
    parser.add_argument("--early", type=int, default=2_000, help="rows after which memory is looked at first")
    parser.add_argument("--mode", choices=["critique", "fast"], default="critique")
    parser.add_argument("--rows-per-shard", type=int, default=256)
    parser.add_argument("--at-once", type=int, default=32, help="comparisons at a time, of both sides")
    parser.add_argument("--engine-pairs", type=int, default=256, help="comparisons of each round of the engine alone")
    parser.add_argument("--out", type=Path, help="write the report to this file, as JSON")
    parser.add_argument("--plot", type=Path, help="draw memory over rows into this PNG")
    options = parser.parse_args(arguments)
    source = f"pocket:held-out?n={options.rows}"

    def measure() -> float:
        num = min(options.engine_pairs, options.rows)
        speed = run_apart(measure_engine, source, num, at_once=options.at_once, mode=options.mode)
        say(f"engine alone: {speed:.2f} comparisons/s")
        return speed

    with tempfile.TemporaryDirectory(prefix="genrm-bench-") as folder:
        output = Path(folder) / "labels"
        before = measure()
        samples = watch_labelling(
            (source, "--mode", options.mode, "--concurrency", str(options.at_once)),
            output,
            options.rows,
            options.rows_per_shard,
        )
        after = measure()
        result = json.loads((output / "result.json").read_text("utf-8"))
    memory, speed, engine = find_memory(samples, options.early), find_speed(samples), mean((before, after))
    if options.plot is not None:
        plot(samples, options.plot)
    figures = [
        Figure(name="pairs judged", value=result["num_pairs"], limit=options.rows, is_least=True),
        Figure(name=f"memory after {options.early:,} rows (MiB)", value=memory and memory[0]),
        Figure(name=f"memory towards {options.rows:,} rows (MiB)", value=memory and memory[1]),
        Figure(
            name="growth of memory (%)",
            value=memory and 100 * (memory[1] / memory[0] - 1),
            limit=_MAX_GROWTH_PERCENT,
        ),
        Figure(name="engine alone, before (comparisons/s)", value=before),
        Figure(name="engine alone, afterwards (comparisons/s)", value=after),
        Figure(name="labelling (comparisons/s)", value=speed),
        Figure(name="labelling / engine", value=speed and speed / engine, limit=_LEAST_SPEED, is_least=True),
    ]
    details = {"mode": options.mode, "samples": [asdict(each) for each in samples]}
    return finish(f"labelling {options.rows:,} pocket pairs, {options.mode}", figures, details, options.out)


if __name__ == "__main__":
    sys.exit(main())
