"""Whether a service stays as it is: half an hour at 70 % of its capacity, with everything that callers do.

Capacity is measured first, with the same mix of requests: judgements with a critique, fast ones, streams, forms,
rankings, mistakes. Then requests come as an open loop at `--load` times that rate, one in fifty from a client who hangs
up before its answer. Memory, descriptors and threads of the process are sampled every ten seconds.

The first `--warmup` of the time does not count: allocators and caches fill. Of the rest, medians are compared, of the
last quarter against the first: a leak shows as growth, a peak as none. Growth of memory may be 2 %, growth of
descriptors 8 (connections that happen to be open). Every request must be answered as its kind deserves: no status of
500 or above but refusals by load, nothing without an answer.

Run: `python bench/soak.py --minutes 30 --load 0.7 --out soak.json --plot soak.png`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench.distinct_requests import Kind
from bench.load_loops import Capacity, Exchange, Load, Plan, find_capacity, run_open_loop
from bench.running_service import Figure, Sample, add_options, finish, run_apart, run_service, say
from bench.serving import find_percentile
from genrm.plots import GREY, open_axes

MIX: tuple[tuple[Kind, int], ...] = (
    ("critique", 35),
    ("fast", 20),
    ("stream", 15),
    ("form", 15),
    ("rerank", 5),
    ("bad", 10),
)
_HANG_UP_SHARE = 0.02
_SAMPLE_SECONDS = 10.0
_MAX_GROWTH_PERCENT = 2.0
_MAX_MORE_DESCRIPTORS = 8.0
_NUM_WINDOWS = 30


def find_growth(samples: Sequence[Sample], name: str, warmup_seconds: float) -> tuple[float, float] | None:
    """Medians of the first and the last quarter of what was sampled after the warm-up; None if that is too little."""
    values = [sample.held[name] for sample in samples if sample.seconds >= warmup_seconds]
    quarter = len(values) // 4
    return (median(values[:quarter]), median(values[-quarter:])) if quarter else None


def is_right(exchange: Exchange) -> bool:
    """Whether a request was answered as its kind deserves; who hung up deserves nothing."""
    if exchange.failure == "hung_up":
        return True
    if exchange.kind == "bad" and exchange.failure is None:
        return exchange.status is not None and 400 <= exchange.status < 500
    return exchange.is_good


def list_p99(exchanges: Sequence[Exchange], seconds: float, num_windows: int) -> list[tuple[float, float]]:
    """p99 of good answers over time: the middle of each window (s) and its value (ms); windows without any left out."""
    width = seconds / num_windows
    windows: dict[int, list[float]] = {}
    for each in exchanges:
        if each.is_good and each.ended < seconds:
            windows.setdefault(int(each.ended / width), []).append(each.latency_ms)
    found = ((index, find_percentile(sorted(values), 99)) for index, values in sorted(windows.items()))
    return [((index + 0.5) * width, value) for index, value in found if value is not None]


def judge_soak(load: Load, samples: Sequence[Sample], *, warmup_seconds: float, is_running: bool) -> list[Figure]:
    """The figures of a soak."""
    outcomes = Counter("right" if is_right(each) else f"{each.status} {each.code}" for each in load.exchanges)
    refused = outcomes.pop("503 overloaded", 0)
    right = outcomes.pop("right", 0)
    memory = find_growth(samples, "rss_mib", warmup_seconds)
    growth = None if memory is None else 100 * (memory[1] / memory[0] - 1)
    descriptors = find_growth(samples, "descriptors", warmup_seconds)
    threads = find_growth(samples, "threads", warmup_seconds)
    lateness = sorted(each.lateness_ms for each in load.exchanges)
    return [
        Figure(name="requests", value=len(load.exchanges)),
        Figure(name="answered as they deserve", value=right),
        Figure(name="refused as too many (503 overloaded)", value=refused),
        Figure(name="answered wrongly or not at all", value=sum(outcomes.values()), limit=0),
        Figure(name="clients that hung up", value=sum(1 for each in load.exchanges if each.failure == "hung_up")),
        Figure(name="p50 of good answers (ms)", value=load.find_latency(50)),
        Figure(name="p99 of good answers (ms)", value=load.find_latency(99)),
        Figure(name="memory after warm-up, first quarter (MiB)", value=memory and memory[0]),
        Figure(name="memory, last quarter (MiB)", value=memory and memory[1]),
        Figure(name="growth of memory (%)", value=growth, limit=_MAX_GROWTH_PERCENT),
        Figure(
            name="more descriptors in the last quarter than in the first",
            value=descriptors and descriptors[1] - descriptors[0],
            limit=_MAX_MORE_DESCRIPTORS,
        ),
        Figure(name="more threads in the last quarter than in the first", value=threads and threads[1] - threads[0]),
        Figure(name="crashes", value=0 if is_running else 1, limit=0),
        Figure(name="load generator: lag p99 (ms)", value=find_percentile(lateness, 99)),
        Figure(name="load generator: share of one core", value=load.cpu_share),
    ]


def plot(samples: Sequence[Sample], p99: Sequence[tuple[float, float]], warmup_seconds: float, file: Path) -> None:
    """Draw memory, descriptors and threads, and p99 over time."""
    with open_axes(file, rows=3, figsize=(9, 7)) as axes:
        memory, counts, waits = axes
        minutes = [sample.seconds / 60 for sample in samples]
        memory.plot(minutes, [sample.held["rss_mib"] for sample in samples])
        memory.set_ylabel("memory (MiB)")
        for name in ("descriptors", "threads"):
            counts.plot(minutes, [sample.held[name] for sample in samples], label=name)
        counts.set_ylabel("number held")
        counts.legend()
        waits.plot([seconds / 60 for seconds, _ in p99], [value for _, value in p99], marker=".")
        waits.set(ylabel="p99 (ms)", xlabel="minutes")
        for axis in axes:
            axis.axvspan(0, warmup_seconds / 60, color=GREY, alpha=0.15, linewidth=0)
            axis.set_ylim(0, 1.08 * axis.get_ylim()[1])  # a level line is not to lie on the frame


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=float, default=0.7, help="share of the capacity")
    parser.add_argument("--rate", type=float, help="requests per second; without it, capacity is measured first")
    parser.add_argument("--warmup", type=float, default=0.2, help="share of the time that does not count")
    parser.add_argument("--step-seconds", type=float, default=8.0, help="of each step of the search for the capacity")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="steps of that search")
    parser.add_argument("--plot", type=Path, help="draw what was sampled into this PNG")
    options = parser.parse_args(arguments)
    seconds = 60 * options.minutes
    warmup_seconds = options.warmup * seconds
    with run_service() as service:
        plan = Plan(address=service.address, folder=options.pairs, seconds=options.step_seconds, mix=MIX)
        rate = options.rate
        steps: list[Capacity] = []
        if rate is None:
            capacity, steps = find_capacity(service, plan, options.clients)
            rate = options.load * capacity.rate
        say(f"{rate:.1f} requests/s for {options.minutes:g} minutes")
        with service.watch(min(_SAMPLE_SECONDS, seconds / 20)) as samples:
            load = run_apart(
                run_open_loop,
                Plan(
                    address=service.address,
                    folder=options.pairs,
                    seconds=seconds,
                    mix=MIX,
                    rate=rate,
                    hang_up_share=_HANG_UP_SHARE,
                    run="soak",
                ),
            )
        figures = judge_soak(load, samples, warmup_seconds=warmup_seconds, is_running=service.is_running)
    wrong = Counter(
        f"{each.kind}: {each.status} {each.code} {each.failure}" for each in load.exchanges if not is_right(each)
    )
    for name, count in wrong.most_common(10):
        say(f"  {name}: {count}")
    p99 = list_p99(load.exchanges, seconds, _NUM_WINDOWS)
    if options.plot is not None:
        plot(samples, p99, warmup_seconds, options.plot)
    details = {
        "rate": rate,
        "steps": [asdict(step) for step in steps],
        "samples": [asdict(sample) for sample in samples],
        "p99": p99,
    }
    return finish(f"{options.minutes:g} minutes at {rate:.1f} requests/s", figures, details, options.out)


if __name__ == "__main__":
    sys.exit(main())
