"""What the playground costs: how soon its page is there, how soon it writes, and what open pages cost other callers.

(a) Seconds until the page is usable, in a browser profile that has never been anywhere and once more in the same, and
(b) from the click on *Judge* to the first text of a critique, on an idle service. (c) Latency of `POST /v1/judge` at 70
% of the capacity, without pages and with 20 pages left open, in turns (A, B, A, B) and each time with the same requests
at the same moments, so that drift of the machine and the luck of arrivals cancel. Capacity is measured first.

The browser runs on the same machine and takes CPU time of its own, which a visitor's would not; it is reported apart
from the service's. Intervals: of a median, from the lowest to the highest of n values, which hold it with a probability
of 1 - 2^(1-n); of latencies, 95 %, by resampling stretches of ten seconds, the same ones of A and B.

Run: `python bench/playground.py --out playground.json`, about 12 minutes; `--minutes 0.3 --times 2` for a look. Let
nothing else run on the machine.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from random import Random
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.browser import CpuMeter, is_browser, measure_first_texts, measure_loads, open_tabs
from bench.load_loops import Capacity, Exchange, Load, Plan, find_capacity, run_open_loop
from bench.running_service import Figure, RunningService, add_options, finish, run_apart, run_service, say
from bench.serving import find_percentile

MAX_FIRST_LOAD_SECONDS = 3.0
MAX_FIRST_TEXT_SECONDS = 1.0
MAX_P99_RATIO = 1.1
_STRETCH_SECONDS = 10.0
_NUM_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One stretch of load, without pages or with them. CPU shares are of one core, over the turn."""

    num_tabs: int
    load: Load
    service_cpu_share: float
    browser_cpu_share: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured value between its bounds. num_values: what it is made of."""

    value: float
    low: float
    high: float
    num_values: int


def estimate_median(values: Sequence[float]) -> Estimate:
    """The median of at least one value, between the lowest and the highest."""
    return Estimate(value=median(values), low=min(values), high=max(values), num_values=len(values))


def estimate_latency(turns: Sequence[Turn], percent: int) -> Estimate | None:
    """A percentile of the latency of good answers over all turns (ms), with its interval; None without answers."""
    stretches = [_cut(turn.load) for turn in turns]
    chosen = _resample(stretches)
    found = [value for each in chosen if (value := _find_latency(each, percent)) is not None]
    whole = _find_latency(_join(stretches), percent)
    if whole is None:
        return None
    num_values = sum(1 for turn in turns for each in turn.load.exchanges if each.is_good)
    return _bound(whole, found, num_values)


def compare_latency(without: Sequence[Turn], with_tabs: Sequence[Turn], percent: int) -> Estimate | None:
    """How many times as high a percentile is with pages as without; the same stretches of both are resampled.

    without, with_tabs: as many turns of each, with the same schedule; at least one.
    """
    one, other = ([_cut(turn.load) for turn in turns] for turns in (without, with_tabs))
    whole = _divide(_find_latency(_join(other), percent), _find_latency(_join(one), percent))
    if whole is None:
        return None
    pairs = zip(_resample(one), _resample(other), strict=True)  # of one seed, so they choose alike
    ratios = (_divide(_find_latency(b, percent), _find_latency(a, percent)) for a, b in pairs)
    return _bound(whole, [ratio for ratio in ratios if ratio is not None], len(with_tabs))


def _cut(load: Load) -> list[list[Exchange]]:
    """The good answers of a load by the stretch in which their request was due."""
    stretches: list[list[Exchange]] = [[] for _ in range(max(1, round(load.seconds / _STRETCH_SECONDS)))]
    for each in load.exchanges:
        if each.is_good:
            stretches[min(len(stretches) - 1, int(each.due / _STRETCH_SECONDS))].append(each)
    return stretches


def _resample(turns: Sequence[list[list[Exchange]]]) -> list[list[Exchange]]:
    """Answers of stretches drawn with replacement, as many as there are, again and again."""
    random = Random(0)
    return [
        [each for turn in turns for stretch in random.choices(turn, k=len(turn)) for each in stretch]
        for _ in range(_NUM_RESAMPLES)
    ]


def _join(turns: Sequence[list[list[Exchange]]]) -> list[Exchange]:
    return [each for turn in turns for stretch in turn for each in stretch]


def _find_latency(exchanges: Sequence[Exchange], percent: int) -> float | None:
    return find_percentile(sorted(each.latency_ms for each in exchanges), percent)


def _divide(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _bound(value: float, resampled: Sequence[float], num_values: int) -> Estimate:
    ordered = sorted(resampled) or [value]
    low, high = ordered[int(0.025 * len(ordered))], ordered[min(len(ordered) - 1, int(0.975 * len(ordered)))]
    return Estimate(value=value, low=min(low, value), high=max(high, value), num_values=num_values)


def run_turn(service: RunningService, plan: Plan, num_tabs: int, settle_seconds: float) -> Turn:
    """The load of a plan once, with so many pages open."""
    if num_tabs == 0:
        time.sleep(settle_seconds)
        return _run_load(service, plan, 0)
    with open_tabs(service.server.url, num_tabs, settle_seconds):
        return _run_load(service, plan, num_tabs)


def _run_load(service: RunningService, plan: Plan, num_tabs: int) -> Turn:
    browser = CpuMeter(is_browser)
    worker = CpuMeter(lambda process: process.pid == service.server.process_id)
    began = time.perf_counter()
    load = run_apart(run_open_loop, plan)
    seconds = time.perf_counter() - began
    return Turn(
        num_tabs=num_tabs,
        load=load,
        service_cpu_share=worker.read() / seconds,
        browser_cpu_share=browser.read() / seconds,
    )


def list_estimates(
    first: Sequence[float], again: Sequence[float], texts: Sequence[float], turns: Sequence[Turn]
) -> dict[str, Estimate]:
    """What was measured, by name; what has no value is left out."""
    without, with_tabs = split_turns(turns)
    found: dict[str, Estimate | None] = {
        "page usable, first load (s)": estimate_median(first),
        "page usable, again (s)": estimate_median(again),
        "click to first critique text (s)": estimate_median(texts),
    }
    for percent in (50, 99):
        found[f"p{percent} without pages (ms)"] = estimate_latency(without, percent)
        found[f"p{percent} with pages (ms)"] = estimate_latency(with_tabs, percent)
        found[f"p{percent} with against without (times)"] = compare_latency(without, with_tabs, percent)
    for name, group in (("without pages", without), ("with pages", with_tabs)):
        if group:
            found[f"service: cores {name}"] = estimate_median([turn.service_cpu_share for turn in group])
    if with_tabs:
        found["Chromium: cores with pages"] = estimate_median([turn.browser_cpu_share for turn in with_tabs])
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def split_turns(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]]:
    """The turns without pages and those with them."""
    return [turn for turn in turns if turn.num_tabs == 0], [turn for turn in turns if turn.num_tabs > 0]


def judge_playground(estimates: dict[str, Estimate], turns: Sequence[Turn]) -> list[Figure]:
    """The figures with their limits: of loads and first texts, the slowest counts."""
    ratio = estimates.get("p99 with against without (times)")
    first, texts = estimates["page usable, first load (s)"], estimates["click to first critique text (s)"]
    lateness = sorted(each.lateness_ms for turn in turns for each in turn.load.exchanges)
    num_bad = sum(1 for turn in turns for each in turn.load.exchanges if not each.is_good)
    return [
        Figure(name="page usable, first load, slowest (s)", value=first.high, limit=MAX_FIRST_LOAD_SECONDS),
        Figure(name="click to first critique text, slowest (s)", value=texts.high, limit=MAX_FIRST_TEXT_SECONDS),
        Figure(
            name="p99 with pages against without (times)",
            value=ratio.value if ratio is not None else None,
            limit=MAX_P99_RATIO,
        ),
        Figure(name="requests without a good answer", value=num_bad),
        Figure(name="load generator: lag p99 (ms)", value=find_percentile(lateness, 99)),
    ]


def print_estimates(estimates: dict[str, Estimate]) -> None:
    """The measured values for people."""
    table = Table(title="Playground")
    for column in ("what", "measured", "from", "to", "n"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, each in estimates.items():
        table.add_row(name, *(f"{value:,.4g}" for value in (each.value, each.low, each.high)), str(each.num_values))
    console = Console()
    if not console.is_terminal:
        console.width = 120  # a file has no edge at which columns must be cut
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--times", type=int, default=6, help="loads and clicks that are measured")
    parser.add_argument("--minutes", type=float, default=2.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=2, help="turns without pages and as many with them")
    parser.add_argument("--tabs", type=int, default=20, help="pages left open")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds before each turn")
    parser.add_argument("--load", type=float, default=0.7, help="share of the capacity")
    parser.add_argument("--rate", type=float, help="requests per second; without it, capacity is measured first")
    parser.add_argument("--step-seconds", type=float, default=8.0, help="of each step of the search for the capacity")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="steps of that search")
    options = parser.parse_args(arguments)
    with run_service({"GENRM_PLAYGROUND": "on"}) as service:
        url = service.server.url
        say("loads and clicks")
        first, again = measure_loads(url, options.times)  # at once, because the service's first visitor counts as well
        texts = measure_first_texts(url, options.times)
        plan = Plan(address=service.address, folder=options.pairs, seconds=options.step_seconds)
        rate, steps = options.rate, list[Capacity]()
        if rate is None:
            capacity, steps = find_capacity(service, plan, options.clients)
            rate = options.load * capacity.rate
        plan = Plan(
            address=service.address, folder=options.pairs, seconds=60 * options.minutes, rate=rate, run="playground"
        )
        turns = []
        for num_tabs in (0, options.tabs) * options.rounds:
            say(f"{rate:.1f} requests/s for {options.minutes:g} minutes, {num_tabs} pages")
            turns.append(run_turn(service, plan, num_tabs, options.settle))
    estimates = list_estimates(first, again, texts, turns)
    print_estimates(estimates)
    details = {
        "estimates": {name: asdict(each) for name, each in estimates.items()},
        "rate": rate,
        "steps": [asdict(step) for step in steps],
        "loads": {"first": first, "again": again, "first_texts": texts},
        "turns": [
            {
                "num_tabs": turn.num_tabs,
                "service_cpu_share": turn.service_cpu_share,
                "browser_cpu_share": turn.browser_cpu_share,
                "p50_ms": turn.load.find_latency(50),
                "p99_ms": turn.load.find_latency(99),
                "num_requests": len(turn.load.exchanges),
            }
            for turn in turns
        ],
    }
    title = f"{options.tabs} pages at {rate:.1f} requests/s, {options.rounds} x {options.minutes:g} minutes each"
    return finish(title, judge_playground(estimates, turns), details, options.out)


if __name__ == "__main__":
    sys.exit(main())
