"""Speed of the in-process engine against transformers' `generate`: the same model, prompts and tokens, in the same run.

Both sides judge the same pairs of responses in both orders and write at most the same number of tokens. The engine gets
all clients' comparisons at once and works on them as it always does. The other side is what one would write without
it: one `generate` call per order and comparison, one after the other. Image preprocessing and tokenisation count on
both sides, loading and one warm-up do not. The two sides take turns, several rounds each, so that a busy moment of the
machine hits both; the middle round counts. That both wrote the same texts is checked and reported.

Run: `python bench/engine.py`, `python bench/engine.py --model FOLDER --clients 1 8 32 --json engine.json`. A minute or
two on 2 cores.
"""

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image

from genrm.engines.contract import Prompt, Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.engines.loading import LoadedModel, choose_placement, load_model
from genrm.engines.preparation import render_text
from genrm.prompts import render_prompt
from genrm.shipped import judge_folder
from genrm.types import Comparison

SAMPLES = Path(__file__).parents[1] / "genrm" / "samples"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one number of clients came to. Seconds are per comparison, both orders."""

    num_clients: int
    engine_seconds: float
    generate_seconds: float
    ratio: float
    """How many times faster the engine is."""
    verdicts_per_second: float
    same_texts: float
    """Share of readings, of those that `generate` wrote, whose text is equal to the engine's."""
    tokens_per_reading: float


def main() -> None:
    """Measure and print; write the figures as JSON if asked to."""
    arguments = _parse_arguments()
    comparisons = load_comparisons(arguments.samples, max(arguments.clients), side=arguments.side)
    loaded = load_model(
        arguments.model, placement=choose_placement(device=arguments.device, dtype="auto", attention="sdpa")
    )
    figures = asyncio.run(
        measure(
            loaded,
            InProcessEngine(arguments.model, device=arguments.device, max_prefix_tokens=0),  # every round asks the same
            comparisons,
            clients=arguments.clients,
            rounds=arguments.rounds,
            max_tokens=arguments.max_tokens,
            num_alone=arguments.generate_comparisons,
        )
    )
    print(f"{arguments.model}: {loaded.placement.reason}; torch {torch.__version__}")
    for row in figures:
        print(
            f"{row.num_clients:3d} clients: engine {1000 * row.engine_seconds:7.1f} ms/comparison "
            f"({row.verdicts_per_second:.1f}/s), generate {1000 * row.generate_seconds:7.1f} ms, "
            f"ratio {row.ratio:.1f}; {row.tokens_per_reading:.1f} tokens a reading, same texts {row.same_texts:.0%}"
        )
    if loaded.placement.device.type == "cuda":
        print(f"most memory, both copies of the model: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in figures], indent=1) + "\n", encoding="utf-8")


def load_comparisons(folder: Path, num: int, *, side: int | None = None) -> list[Comparison]:
    """Comparisons from a folder that `vl-genrm pocket export` writes, repeated if it has too few.

    side: pictures are made squares of so many pixels; None leaves them as they are.
    """
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    Random(0).shuffle(rows)
    comparisons = []
    for index in range(num):
        row = rows[index % len(rows)]
        with Image.open(folder / row["image"]) as image:
            picture = image.convert("RGB") if side is None else image.convert("RGB").resize((side, side))
        first, second = row["response"]
        comparisons.append(Comparison(images=(picture,), question=row["query"], response_a=first, response_b=second))
    return comparisons


async def measure(
    loaded: LoadedModel,
    engine: InProcessEngine,
    comparisons: list[Comparison],
    *,
    clients: list[int],
    rounds: int,
    max_tokens: int,
    num_alone: int,
) -> list[Figures]:
    """Both sides in turns, for every number of clients.

    num_alone: comparisons per round of one-by-one `generate`, which takes the same time for each.
    """
    pairs = [[render_prompt(pair, first=first, mode="critique") for first in ("A", "B")] for pair in comparisons]
    sampling = Sampling(max_tokens=max_tokens)
    await engine.start()
    await engine.complete(pairs[0], sampling)
    generate(loaded, pairs[0][0], max_tokens)
    figures = []
    for num in clients:
        engine_seconds: list[float] = []
        generate_seconds: list[float] = []
        written: list[list[str]] = []
        alone: list[list[str]] = []
        num_tokens = 0
        for _ in range(rounds):
            begun = time.perf_counter()
            completions = await asyncio.gather(*(engine.complete(pair, sampling) for pair in pairs[:num]))
            engine_seconds.append((time.perf_counter() - begun) / num)
            written = [[completion.text for completion in both] for both in completions]
            num_tokens = sum(completion.completion_tokens for both in completions for completion in both)

            some = pairs[: min(num, num_alone)]
            begun = time.perf_counter()
            alone = [[generate(loaded, prompt, max_tokens) for prompt in pair] for pair in some]
            generate_seconds.append((time.perf_counter() - begun) / len(some))
        ours, theirs = statistics.median(engine_seconds), statistics.median(generate_seconds)
        compared = [
            one == other
            for both, same in zip(alone, written, strict=False)
            for one, other in zip(both, same, strict=True)
        ]
        figures.append(
            Figures(
                num_clients=num,
                engine_seconds=ours,
                generate_seconds=theirs,
                ratio=theirs / ours,
                verdicts_per_second=1 / ours,
                same_texts=sum(compared) / len(compared),
                tokens_per_reading=num_tokens / (2 * num),
            )
        )
    await engine.close()
    return figures


def generate(loaded: LoadedModel, prompt: Prompt, max_tokens: int) -> str:
    """One reading with transformers alone: process the prompt, generate greedily, decode."""
    processor: Any = loaded.processor
    model: Any = loaded.model
    inputs = processor(text=[render_text(processor, prompt)], images=list(prompt.images), return_tensors="pt")
    with torch.inference_mode():
        ids = model.generate(
            **inputs.to(loaded.placement.device),
            max_new_tokens=max_tokens,
            do_sample=False,
            eos_token_id=sorted(loaded.stop_ids),
            pad_token_id=min(loaded.stop_ids),
        )
    text: str = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Speed of the in-process engine against one generate call per reading."
    )
    parser.add_argument("--model", default=str(judge_folder()), help="folder or hub id; the shipped judge")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="a folder written by `vl-genrm pocket export`")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32], help="comparisons at a time")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of both sides, in turns")
    parser.add_argument("--max-tokens", type=int, default=128, help="most tokens of a reading")
    parser.add_argument("--side", type=int, help="pixels of a picture's side; default: as they are")
    parser.add_argument("--generate-comparisons", type=int, default=8, help="of the other side, per round")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
