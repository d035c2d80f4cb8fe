"""What the scripts that put a service under stress have in common: its process, what it holds, and the verdict on it.

The service is a process of its own, `vl-genrm serve` with the shipped judge on a loopback port, whose log goes into a
file. A script measures figures, each with its limit; the report is a table for people and JSON for programs, and the
script's status is 1 if a figure is missed.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from bench.serving import SAMPLES, Server, describe_machine, read_memory, start_server

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a process held at one moment. seconds: since the watch began. held: as `RunningService.read_held`."""

    seconds: float
    held: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """A service that is ready. settings: environment variables that it got. log: the file with what it printed."""

    server: Server
    settings: Mapping[str, str]
    log: Path

    @contextmanager
    def watch(self, every_seconds: float) -> Iterator[list[Sample]]:
        """What the process holds, again and again while the block runs; none where the system has no `/proc`."""
        samples: list[Sample] = []
        began, done = time.perf_counter(), threading.Event()

        def run() -> None:
            while self.is_running:
                if held := self.read_held():
                    samples.append(Sample(seconds=time.perf_counter() - began, held=held))
                if done.wait(every_seconds):
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield samples
        finally:
            done.set()
            thread.join()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.server.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self.server.process is not None and self.server.process.poll() is None

    def read_held(self) -> dict[str, float]:
        """What the process holds now: `rss_mib`, `peak_rss_mib`, `descriptors`, `threads`. Empty without `/proc`."""
        folder = Path(f"/proc/{self.server.process_id}")
        if not (folder / "fd").is_dir() or self.server.process_id is None:
            return {}
        held = read_memory(self.server.process_id)
        return held | {
            "descriptors": float(sum(1 for _ in (folder / "fd").iterdir())),
            "threads": float(sum(1 for _ in (folder / "task").iterdir())),
        }


@contextmanager
def run_service(settings: Mapping[str, str] | None = None, *arguments: str) -> Iterator[RunningService]:
    """A service that is ready, in a process of its own; stopped afterwards.

    settings: environment variables, `GENRM_…`. arguments: added to `vl-genrm serve`.
    """
    with tempfile.TemporaryDirectory(prefix="genrm-bench-") as folder:
        chosen = {"GENRM_DATABASE_URL": f"sqlite:///{folder}/genrm.db", **(settings or {})}
        log = Path(folder) / "service.log"
        with log.open("wb") as file, start_server(arguments, chosen, file) as server:
            yield RunningService(server=server, settings=chosen, log=log)


def run_apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `work(*args, **kwargs)` in a fresh process, so that load and bookkeeping share no interpreter."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value. limit: what it may be at the most, or, if `is_least`, must be at the least; None: no limit.

    value: None if there was nothing to measure, which misses any limit.
    """

    name: str
    value: float | None
    limit: float | None = None
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the value keeps its limit."""
        if self.limit is None:
            return True
        if self.value is None:
            return False
        return self.value >= self.limit if self.is_least else self.value <= self.limit


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every such script."""
    parser.add_argument("--pairs", type=Path, default=SAMPLES, help="folder with rows.jsonl and images")
    parser.add_argument("--out", type=Path, help="write the report to this file, as JSON")


def finish(title: str, figures: Sequence[Figure], details: Mapping[str, object], out: Path | None) -> int:
    """Print the figures and write the report; the script's exit status: 1 if a figure is missed."""
    table = Table(title=title)
    for column in ("figure", "measured", "limit", ""):
        table.add_column(column, justify="left" if column in ("figure", "") else "right")
    for figure in figures:
        bound = "" if figure.limit is None else f"{'≥' if figure.is_least else '≤'} {figure.limit:,.4g}"
        value = "–" if figure.value is None else f"{figure.value:,.4g}"
        table.add_row(figure.name, value, bound, "" if figure.limit is None else "ok" if figure.is_met else "MISSED")
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file has no edge at which columns must be cut
    console.print(table)
    if out is not None:
        rows = [{**asdict(figure), "is_met": figure.is_met} for figure in figures]
        report = {"title": title, "machine": describe_machine(), "figures": rows, **details}
        out.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    return 0 if all(figure.is_met for figure in figures) else 1


def say(text: str) -> None:
    """Print a line of progress at once, also into a pipe."""
    print(text, file=sys.stderr, flush=True)
