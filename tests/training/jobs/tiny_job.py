"""A job of two steps that writes lines, for the tests. As a script it is `vl-genrm train` with no other job."""

import os
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import genrm.cli
from training.jobs.config import JobConfig
from training.jobs.job import Job
from training.jobs.plan import Plan, PlannedStep
from training.jobs.run_folder import RESULT, RunFolder
from training.train_commands import JobEntry, build_app

STEPS = ("first", "second")
LINES = "lines.jsonl"
PID = "pid.json"


class TinyConfig(JobConfig):
    """needs: a file without which the job fails. accuracy: what it reports, plus a hundredth of its seed."""

    harmless: ClassVar[frozenset[str]] = frozenset({"output", "seconds_per_line"})

    num_lines: int = 3
    seconds_per_line: float = 0.0
    needs: Path | None = None
    accuracy: float = 0.5


def expected_lines(config: TinyConfig) -> list[dict[str, object]]:
    """What the job has written when it is done."""
    return [{"step": step, "number": n, "text": "ü" * 5000} for step in STEPS for n in range(config.num_lines)]


def plan(config: TinyConfig) -> Plan:
    """Both steps."""
    steps = [
        PlannedStep(name=step, detail=f"{config.num_lines} lines", num_tokens=1000 * config.num_lines, seconds=60)
        for step in STEPS
    ]
    return Plan(steps=tuple(steps), notes=("needs 1 MB",))


def run(config: TinyConfig, folder: RunFolder) -> None:
    """Write what is not written yet."""
    folder.write_json(PID, os.getpid())
    for step in STEPS:
        if folder.is_done(step):
            continue
        rows = [row for row in expected_lines(config) if row["step"] == step]
        for row in rows[sum(row["step"] == step for row in folder.read_lines(LINES)) :]:
            time.sleep(config.seconds_per_line)
            folder.append_line(LINES, row)
        folder.mark_done(step, {"num": len(rows)})
    if config.needs is not None and not config.needs.exists():
        raise RuntimeError(f"no {config.needs}")
    value = config.accuracy + config.seed / 100
    folder.write_json(RESULT, {"accuracy": {"general": {"value": value, "low": value - 0.1, "high": 1.0, "num": 50}}})


JOB = Job(schema=TinyConfig, plan=plan, run=run)
app = build_app({"tiny": JobEntry(target="tiny_job:JOB", summary="Write lines.")}, launch=(sys.executable, __file__))

if __name__ == "__main__":
    point = EntryPoint("train", "tiny_job:app", genrm.cli.ENTRY_POINT_GROUP)
    genrm.cli.find_commands = lambda: {"train": point}
    genrm.cli.main(["train", *sys.argv[1:]])
