"""What a service does when ten times as much comes as it can do: does it keep its word to those whom it admits, and is
it quick to refuse the rest?

Three steps, each with a load generator in a process of its own:

1. Capacity: closed loops of 1, 2, 4, … clients until throughput stops growing, on a service with its default limits.
2. The service again, with `GENRM_MAX_QUEUE` set as an operator should: to the number of clients at capacity, since more
   in the queue only wait longer. A closed loop of as many clients measures rate and p99 at capacity.
3. `--times` that rate as an open loop, for `--seconds`, every request with a picture and a question of its own.

Latencies are counted from the first byte sent to the last received. The load generator's own lag is in the report.

Run: `python bench/overload.py --out overload.json`. About three minutes.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median

from bench.load_loops import Capacity, Load, Plan, find_capacity, measure_capacity, run_closed_loop, run_open_loop
from bench.running_service import Figure, RunningService, add_options, finish, run_apart, run_service, say
from bench.serving import find_percentile

_REFUSALS = {429, 503}
_MAX_SLOWDOWN = 2.0
_MAX_REFUSAL_MS = 50.0
_MAX_GROWTH_PERCENT = 2.0


def judge_overload(load: Load, at_capacity: Capacity, memory: Sequence[float], *, is_running: bool) -> list[Figure]:
    """The figures of an overload. memory: MiB, over time. is_running: whether the service outlived it."""
    good = [each for each in load.exchanges if each.is_good]
    refused = sorted(each.latency_ms for each in load.exchanges if each.status in _REFUSALS and each.failure is None)
    unexplained = [
        each
        for each in load.exchanges
        if not each.is_good and not (each.status in _REFUSALS and each.has_retry_after and each.failure is None)
    ]
    p99_ms = load.find_latency(99)
    slowdown = None if p99_ms is None or not at_capacity.p99_ms else p99_ms / at_capacity.p99_ms
    lateness = sorted(each.lateness_ms for each in load.exchanges)
    quarter = max(1, len(memory) // 4)
    growth = 100 * (median(memory[-quarter:]) / median(memory[:quarter]) - 1) if memory else None
    return [
        Figure(name="capacity: good answers per second", value=at_capacity.rate),
        Figure(name="capacity: clients (= GENRM_MAX_QUEUE)", value=at_capacity.num_clients),
        Figure(name="capacity: p99 (ms)", value=at_capacity.p99_ms),
        Figure(name="overload: requests sent per second", value=len(load.exchanges) / load.seconds),
        Figure(name="overload: good answers per second", value=len(good) / load.seconds),
        Figure(name="overload: p99 of good answers (ms)", value=p99_ms),
        Figure(name="p99 against that at capacity (times)", value=slowdown, limit=_MAX_SLOWDOWN),
        Figure(name="refusals: p50 (ms)", value=find_percentile(refused, 50)),
        Figure(name="refusals: p99 (ms)", value=find_percentile(refused, 99)),
        Figure(name="refusals: slowest (ms)", value=max(refused, default=None), limit=_MAX_REFUSAL_MS),
        Figure(name="neither answered nor refused with Retry-After", value=len(unexplained), limit=0),
        Figure(name="crashes", value=0 if is_running else 1, limit=0),
        Figure(name="memory: first quarter (MiB)", value=median(memory[:quarter]) if memory else None),
        Figure(name="memory: highest (MiB)", value=max(memory, default=None)),
        Figure(name="memory: growth, last against first quarter (%)", value=growth, limit=_MAX_GROWTH_PERCENT),
        Figure(name="load generator: lag p99 (ms)", value=find_percentile(lateness, 99)),
        Figure(name="load generator: share of one core", value=load.cpu_share),
    ]


def overload(service: RunningService, plan: Plan, num_clients: int, *, times: float, seconds: float) -> list[Figure]:
    """Measure one service, whose queue is set, at its capacity and far above it."""
    closed = Plan(
        address=plan.address, folder=plan.folder, seconds=max(plan.seconds, seconds / 3), num_clients=num_clients
    )
    at_capacity = measure_capacity(run_apart(run_closed_loop, closed), num_clients)
    if not at_capacity.rate:
        sys.exit(f"Nothing was answered within {closed.seconds:g} s at capacity. Give more --step-seconds.")
    rate = times * at_capacity.rate
    say(f"at capacity: {at_capacity.rate:.1f} answers/s, p99 {at_capacity.p99_ms or 0:.0f} ms; now {rate:.0f}/s")
    with service.watch(min(1.0, seconds / 10)) as held:
        load = run_apart(
            run_open_loop, Plan(address=plan.address, folder=plan.folder, seconds=seconds, rate=rate, run="overload")
        )
    outcomes = Counter(f"{each.status} {each.code or each.failure or 'ok'}" for each in load.exchanges)
    say("; ".join(f"{name}: {count}" for name, count in outcomes.most_common()))
    memory = [each.held["rss_mib"] for each in held]
    return judge_overload(load, at_capacity, memory, is_running=service.is_running)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the overload")
    parser.add_argument("--times", type=float, default=10.0, help="how many times its capacity")
    parser.add_argument("--step-seconds", type=float, default=8.0, help="of each step of the search for the capacity")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="steps of that search")
    options = parser.parse_args(arguments)
    with run_service() as service:
        plan = Plan(address=service.address, folder=options.pairs, seconds=options.step_seconds)
        capacity, steps = find_capacity(service, plan, options.clients)
    with run_service({"GENRM_MAX_QUEUE": str(capacity.num_clients)}) as service:
        plan = Plan(address=service.address, folder=options.pairs, seconds=options.step_seconds)
        figures = overload(service, plan, capacity.num_clients, times=options.times, seconds=options.seconds)
    title = f"{options.times:g} times the capacity for {options.seconds:g} s"
    return finish(title, figures, {"steps": [asdict(step) for step in steps]}, options.out)


if __name__ == "__main__":
    sys.exit(main())
