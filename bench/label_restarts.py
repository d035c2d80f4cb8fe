"""Labelling against a service that is killed and started again meanwhile: nothing may be lost.

`vl-genrm label --url` asks a real service for verdicts of pocket comparisons, in a process of its own. At random times
the service is ended, in turns by SIGKILL and by SIGTERM, and started again on the same port and database. In the end
every comparison must have its verdict, the same that a labelling in one process gives (numbers to 0.0001: which prompts
share a batch moves their last digits), and none may be in the folder twice. How many were judged again is counted: a
service that is killed has worked in vain on at most as many as the labelling asks for at once.

Run: `python bench/label_restarts.py --out restarts.json`, about eight minutes on 2 cores.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pyarrow.parquet as pq

from bench.batches import Service, run
from bench.label_ray import count_unlike, read_verdicts
from bench.running_service import Figure, finish, say
from pocket.rows import export_rows
from pocket.scenes import Split
from training.labelling.tables import VERDICTS

_CONCURRENCY = 32


def write_rows(folder: Path, num_rows: int) -> Path:
    """Pocket comparisons in files, each with a name in its question by which the service's engine notes it."""
    file = export_rows(folder, Split.HELD_OUT, num_rows)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [
        json.dumps({**row, "query": f"{row['query']} (row-{number})"}, ensure_ascii=False)
        for number, row in enumerate(rows)
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def start_labelling(source: Path, output: Path, *words: str) -> "subprocess.Popen[bytes]":
    """A labelling in fast mode, in a process of its own; what it prints is in a file beside its folder."""
    command = [sys.executable, "-m", "genrm.cli", "label", str(source), "--output", str(output), "--mode", "fast"]
    command += ["--rows-per-shard", "64", "--concurrency", str(_CONCURRENCY), *words]
    with output.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own


def disturb(service: Service, labelling: "subprocess.Popen[bytes]", *, times: int, random: Random) -> int:
    """End the service and start it again at random moments while a labelling runs; how often that was."""
    for number in range(times):
        pause = random.uniform(3, 12)
        deadline = time.monotonic() + pause
        while time.monotonic() < deadline:
            if labelling.poll() is not None:
                return number
            time.sleep(0.1)
        sent = (signal.SIGKILL, signal.SIGTERM)[number % 2]
        service.stop(sent)
        service.start()
        say(f"{sent.name} {number + 1} of {times}, {pause:.0f} s after the start; it is ready again")
    return times


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000, help="comparisons to label")
    parser.add_argument("--times", type=int, default=6, help="how often the service is ended")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, help="write the report to this file, as JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="genrm-bench-") as name, run() as service:
        folder = Path(name)
        source = write_rows(folder / "rows", options.rows)
        labelling = start_labelling(source, folder / "url", "--url", f"http://127.0.0.1:{service.port}")
        num_ended = disturb(service, labelling, times=options.times, random=Random(options.seed))
        status = labelling.wait()
        if status:
            say((folder / "url.log").read_text(encoding="utf-8")[-2000:])
        num_judged = len(service.notes.read_text().splitlines()) if service.notes.exists() else 0
        service.stop(signal.SIGTERM)
        start_labelling(source, folder / "local").wait()
        asked, here = read_verdicts(folder / "url"), read_verdicts(folder / "local")
        seen = Counter(
            row["id"]
            for file in (folder / "url" / VERDICTS).glob("*.parquet")
            for row in pq.read_table(file, columns=["id"]).to_pylist()
        )
    figures = [
        Figure(name="status of the labelling", value=status, limit=0),
        Figure(name="times the service was ended", value=num_ended, limit=options.times, is_least=True),
        Figure(name="comparisons without a verdict", value=options.rows - len(asked), limit=0),
        Figure(name="comparisons twice in the folder", value=sum(num > 1 for num in seen.values()), limit=0),
        Figure(
            name="verdicts unlike those of one process",
            value=count_unlike(asked, here),
            limit=0,
        ),
        Figure(name="judged again", value=num_judged - options.rows, limit=num_ended * _CONCURRENCY),
    ]
    return finish("labelling while the service restarts", figures, {"rows": options.rows}, options.out)


if __name__ == "__main__":
    sys.exit(main())
