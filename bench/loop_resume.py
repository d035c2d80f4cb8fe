"""Whether a training loop that is killed again and again ends where an unbroken one does.

Runs `vl-genrm train loop` on a small part of the pocket world twice with the same seed: once in peace, once with
`kill -9` at random moments and the same command again. Compared are the final figures and everything that was sampled,
of which nothing may be there twice.

Run: `python bench/loop_resume.py`, `python bench/loop_resume.py --kills 5 --seed 1`. About four minutes on 2 cores.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "training" / "configs" / "pocket" / "loop.yaml"
SMALL = (
    "source=pocket:train?n=120&seed=3", "measuring.limit=60", "held_out=null", "pairs_for_ift=120",
    "preferences.rows_per_shard=24",
    "critiques.pairs_per_block=24", "ift.training.checkpoint_every=2", "ift.training.epochs=1", "reject.rounds=1",
    "reject.pairs_per_round=64", "reject.pairs_per_block=16", "reject.training.checkpoint_every=2",
    "reject.threshold=0", "reject.training.epochs=0.5", "ift.training.batch_size=16", "reject.training.batch_size=16",
)  # fmt: skip
COMPARED = ("critiques/written.jsonl", "critiques/critiques.jsonl", "reject/round-1-sampled.jsonl")


TOLERANCE = 1e-5
"""Prompts are computed many at once, in batches that depend on timing, which moves probabilities by rounding."""


def main() -> None:
    """Run both, compare, and exit with 1 if they differ."""
    parser = argparse.ArgumentParser(description="Kill a training loop at random moments and compare with a whole one.")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        started = time.perf_counter()
        subprocess.run(command(whole, arguments.seed), check=True, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
        seconds = time.perf_counter() - started
        print(f"unbroken: {seconds:.0f} s")
        rng = random.Random(arguments.seed)
        for number in range(arguments.kills):
            process = subprocess.Popen(command(killed, arguments.seed), stderr=subprocess.DEVNULL)  # noqa: S603 - as above
            wait = rng.uniform(0.15, 0.35) * seconds
            try:
                process.wait(wait)
                print(f"kill {number + 1}: it was done before")
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print(f"kill {number + 1} after {wait:.0f} s: {done(killed)}")
        subprocess.run(command(killed, arguments.seed), check=True, stderr=subprocess.DEVNULL)  # noqa: S603 - as above
        different = [name for name in COMPARED if not same(read_lines(whole / name), read_lines(killed / name))]
        one, other = (figures(json.loads((f / "result.json").read_text(encoding="utf-8"))) for f in (whole, killed))
        gap = max(abs(one[name] - other[name]) for name in one)
        print(f"sampled files that differ: {', '.join(different) or 'none'}; final figures differ by at most {gap:.2g}")
        sys.exit(bool(different) or gap > TOLERANCE)


def read_lines(file: Path) -> list[Any]:
    """The JSON lines of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def same(one: Any, other: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether two JSON values have the same texts, and the same numbers but for rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def figures(result: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """All numbers of nested figures, by dotted name."""
    flat: dict[str, float] = {}
    for name, value in result.items():
        flat |= figures(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def command(output: Path, seed: int) -> list[str]:
    """The loop's command line."""
    settings = [word for setting in (*SMALL, f"output={output}", f"seed={seed}") for word in ("--set", setting)]
    return [sys.executable, "-m", "genrm.cli", "train", "loop", str(CONFIG), *settings]


def done(folder: Path) -> str:
    """Which stages are finished."""
    state = folder / "state.json"
    return ", ".join(json.loads(state.read_text(encoding="utf-8"))) or "no stage done" if state.exists() else "no stage"


if __name__ == "__main__":
    main()
