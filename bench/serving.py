"""Speed of the real HTTP service: verdicts per second, latency percentiles and memory, at 1 and at 32 clients.

The server is a process of its own (`vl-genrm serve` on a free loopback port, or any service by `--url`), and so is the
load generator. Every client is a closed loop: it sends the next comparison when it has the verdict of the last.
Requests that end inside the measured window count; what runs during warm-up and after the end does not. Comparisons
come from a folder that `vl-genrm pocket export` writes; because its few pictures come again and again, as those of real
callers do not, the server keeps none of them computed unless GENRM_MAX_PREFIX_TOKENS says so. Not measured: networks,
and open-loop arrival, where queues grow without bound once the service is slower than its callers.

Run: `python bench/serving.py`, `python bench/serving.py --seconds 60 --json speed.json -- --device cuda`. About a
minute and a half.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import IO

import httpx
from rich.console import Console
from rich.table import Table

from genrm.types import Mode
from service.client import AsyncClient, ServiceError

SAMPLES = Path(__file__).parents[1] / "genrm" / "samples"
START_TIMEOUT_SECONDS = 180.0
STOP_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One comparison to send. image: the bytes of its file."""

    image: bytes
    question: str
    response_a: str
    response_b: str


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one load generator does. seconds: the measured window, after `warmup_seconds` that do not count."""

    url: str
    folder: Path
    num_clients: int
    warmup_seconds: float
    seconds: float
    mode: Mode


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one load generator saw in its window. Latencies are in milliseconds."""

    num_clients: int
    num_verdicts: int
    num_errors: int
    verdicts_per_second: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    completion_tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One finished request. ended: `time.perf_counter()`. completion_tokens: None if it failed."""

    ended: float
    latency_ms: float
    completion_tokens: int | None


def load_pairs(folder: Path) -> list[Pair]:
    """The comparisons in a folder with `rows.jsonl` and its images, in the order of the file."""
    file = folder / "rows.jsonl"
    if not file.is_file():
        sys.exit(f"{file} does not exist. Name a folder with --pairs; 'vl-genrm pocket export DIR' writes one.")
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    return [
        Pair(
            image=(folder / row["image"]).read_bytes(),
            question=row["query"],
            response_a=row["response"][0],
            response_b=row["response"][1],
        )
        for row in rows
    ]


def generate_load(load: Load) -> Outcome:
    """Run the clients of one load and sum up their window. Meant for a process of its own."""
    pairs = load_pairs(load.folder)
    window_start, samples = asyncio.run(_run_clients(load, pairs))
    return summarise(load, samples, window_start)


def summarise(load: Load, samples: Sequence[Sample], window_start: float) -> Outcome:
    """Count the samples that ended inside the window, which starts at `window_start` of the same clock."""
    inside = [sample for sample in samples if window_start <= sample.ended < window_start + load.seconds]
    good = [sample for sample in inside if sample.completion_tokens is not None]
    latencies = sorted(sample.latency_ms for sample in good)
    return Outcome(
        num_clients=load.num_clients,
        num_verdicts=len(good),
        num_errors=len(inside) - len(good),
        verdicts_per_second=len(good) / load.seconds,
        p50_ms=find_percentile(latencies, 50),
        p90_ms=find_percentile(latencies, 90),
        p99_ms=find_percentile(latencies, 99),
        completion_tokens_per_second=sum(sample.completion_tokens or 0 for sample in good) / load.seconds,
    )


def find_percentile(values: Sequence[float], percent: int) -> float | None:
    """The value at or below which `percent` of sorted `values` lie, interpolated; None without values."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


async def _run_clients(load: Load, pairs: Sequence[Pair]) -> tuple[float, list[Sample]]:
    samples: list[Sample] = []
    window_start = time.perf_counter() + load.warmup_seconds
    stop = window_start + load.seconds
    async with AsyncClient(load.url) as client:
        clients = (_run_client(client, load.mode, pairs, seed, stop, samples) for seed in range(load.num_clients))
        await asyncio.gather(*clients)
    return window_start, samples


async def _run_client(
    client: AsyncClient, mode: Mode, pairs: Sequence[Pair], seed: int, stop: float, samples: list[Sample]
) -> None:
    """One closed loop over all pairs, in an order of its own."""
    order = Random(seed).sample(pairs, len(pairs))
    position = 0
    while (started := time.perf_counter()) < stop:
        pair = order[position % len(order)]
        position += 1
        tokens: int | None = None
        try:
            verdict = await client.judge(
                pair.image, question=pair.question, a=pair.response_a, b=pair.response_b, mode=mode
            )
            tokens = verdict.usage.completion_tokens
        except ServiceError as error:
            await asyncio.sleep(0.1)  # a server that refuses at once must not be flooded
            if not any(sample.completion_tokens is None for sample in samples):
                print(f"first error: {error}", file=sys.stderr)
        ended = time.perf_counter()
        samples.append(Sample(ended=ended, latency_ms=(ended - started) * 1000, completion_tokens=tokens))


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running service. process: None if it was not started here. start_seconds: from the command to ready."""

    url: str
    start_seconds: float | None
    process: subprocess.Popen[bytes] | None

    @property
    def process_id(self) -> int | None:
        """Of the process; None if it was not started here."""
        return None if self.process is None else self.process.pid


@contextmanager
def start_server(
    arguments: Sequence[str], settings: Mapping[str, str] | None = None, log: IO[bytes] | None = None
) -> Iterator[Server]:
    """A server on a free loopback port, ready; stopped afterwards.

    arguments: added to `vl-genrm serve`. settings: environment variables that go before those of this process. log:
    where what it prints goes; among our own lines by default.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    command = [sys.executable, "-m", "genrm.cli", "serve", "--port", str(port), "--log-level", "warning", *arguments]
    environment = {"GENRM_MAX_PREFIX_TOKENS": "0", **os.environ, **(settings or {})}
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 - our own command
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield Server(url=url, start_seconds=time.perf_counter() - started, process=process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the service answers that it is ready; exit with a message if it ended or takes too long."""
    deadline = time.perf_counter() + START_TIMEOUT_SECONDS
    with httpx.Client(base_url=url) as client:  # one: each reads the system's certificates when it is made
        while time.perf_counter() < deadline:
            if process.poll() is not None:
                sys.exit(
                    f"The server ended with status {process.returncode} before it was ready; its message is above."
                )
            try:
                if client.get("/readyz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    sys.exit(f"The server was not ready after {START_TIMEOUT_SECONDS:.0f} s.")


def read_memory(process_id: int) -> dict[str, float]:
    """Resident memory of a process now and at its highest, in MiB. Empty where the system has no `/proc`."""
    status = Path(f"/proc/{process_id}/status")
    if not status.is_file():
        return {}
    fields = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines() if ":" in line)
    return {
        name: round(int(fields[key].split()[0]) / 1024, 1)
        for name, key in (("rss_mib", "VmRSS"), ("peak_rss_mib", "VmHWM"))
    }


def describe_machine() -> dict[str, object]:
    """What figures depend on."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def measure(server: Server, options: argparse.Namespace) -> dict[str, object]:
    """All loads against one server, each from a fresh process, as one report."""
    runs = []
    for num_clients in options.clients:
        load = Load(
            url=server.url,
            folder=options.pairs,
            num_clients=num_clients,
            warmup_seconds=options.warmup,
            seconds=options.seconds,
            mode=options.mode,
        )
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            outcome = pool.submit(generate_load, load).result()
        memory = {} if server.process_id is None else read_memory(server.process_id)
        runs.append({**asdict(outcome), **memory})
    models = httpx.get(f"{server.url}/v1/models").json()["data"]
    return {
        "machine": describe_machine(),
        "model": models[0]["id"],
        "mode": options.mode,
        "start_seconds": server.start_seconds,
        "warmup_seconds": options.warmup,
        "window_seconds": options.seconds,
        "runs": runs,
    }


def print_table(report: dict[str, object], runs: Sequence[dict[str, object]]) -> None:
    """The report for people."""
    table = Table(title=f"{report['model']}, {report['mode']}, both orders, {report['window_seconds']:g} s per row")
    columns = {
        "clients": "num_clients",
        "verdicts/s": "verdicts_per_second",
        "p50 ms": "p50_ms",
        "p90 ms": "p90_ms",
        "p99 ms": "p99_ms",
        "tokens/s": "completion_tokens_per_second",
        "errors": "num_errors",
        "RSS MiB": "rss_mib",
        "peak MiB": "peak_rss_mib",
    }
    for title in columns:
        table.add_column(title, justify="right")
    for run in runs:
        values = (run.get(key) for key in columns.values())
        table.add_row(*("–" if value is None else f"{value:.4g}" for value in values))
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file has no edge at which columns must be cut
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Start or find the server, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running service; without it one is started")
    parser.add_argument("--pairs", type=Path, default=SAMPLES, help="folder with rows.jsonl and images")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32], help="numbers of clients, one run each")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured window of each run")
    parser.add_argument("--warmup", type=float, default=5.0, help="seconds before the window")
    parser.add_argument("--mode", choices=("critique", "fast"), default="critique")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument("serve", nargs="*", metavar="-- SERVE OPTION", help="options of 'vl-genrm serve'")
    options = parser.parse_args(arguments)
    load_pairs(options.pairs)  # a missing folder is told before a server is started
    if options.url is not None:
        report = measure(Server(url=options.url, start_seconds=None, process=None), options)
    else:
        with start_server(options.serve) as server:
            report = measure(server, options)
    runs = report["runs"]
    assert isinstance(runs, list)
    print_table(report, runs)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
