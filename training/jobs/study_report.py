"""What a study found so far: `results.json`, a Markdown table and plots, from the `result.json` of the finished runs.

Figures are means over seeds with a 95 % t-interval over seeds; that of a share ends at 0 and 1. An arm with one
finished seed shows that run's own interval instead, which says how well one judge was measured and nothing about
training it again. A figure that rests on fewer seeds than its arm has says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from math import isfinite
from statistics import mean, stdev
from textwrap import fill
from typing import Any

from genrm.plots import draw_bars
from training.jobs.files import read_json, write_json, write_text
from training.jobs.run_folder import RESULT
from training.jobs.study import Run, StudyConfig
from training.statistics import Estimate

_DIFFERENCES = ("gain",)
"""Last parts of the names of metrics that are differences of shares: even if all seeds are above 0, it may be below."""


class SeedEstimate(Estimate):
    """A figure over seeds. num: as many as seeds; with one seed, the items of that run. by_seed: what each run had."""

    by_seed: dict[str, float]


Results = dict[str, dict[str, SeedEstimate]]
"""Estimate by metric, by arm."""


def write_report(config: StudyConfig, finished: Sequence[Run], *, missing: Sequence[str]) -> None:
    """Replace the report. missing: names of the other runs, each with the reason."""
    measured = {run: dict(flatten_estimates(read_json(run.folder / RESULT))) for run in finished}
    results: Results = {}
    for arm in config.arms:
        by_seed = {run.seed: estimates for run, estimates in measured.items() if run.arm == arm}
        names = dict.fromkeys(name for estimates in by_seed.values() for name in estimates)
        if names:
            results[arm] = {
                name: combine(
                    {seed: found[name] for seed, found in by_seed.items() if name in found},
                    lowest=-1.0 if name.rpartition(".")[2] in _DIFFERENCES else 0.0,
                )
                for name in names
            }
    metrics = _choose_metrics(config.metrics, results)
    write_json(config.output / "results.json", {"title": config.title, "arms": results, "missing": list(missing)})
    write_text(config.output / "results.md", _render(config.title, results, metrics, missing))
    for family in dict.fromkeys(_family(name) for name in metrics):
        members = [name for name in metrics if _family(name) == family]
        bars = {
            fill(arm, 14): {name.removeprefix(f"{family}."): found[name] for name in members if name in found}
            for arm, found in results.items()
        }
        draw_bars(
            bars,
            config.output / "plots" / f"{family.replace('/', '-')}.png",
            ylabel=family,
            title=config.title,
            ylim=None,
        )


def combine(by_seed: Mapping[int, Estimate], *, lowest: float = 0.0) -> SeedEstimate:
    """The mean over seeds, at least one, with its t-interval; with one seed, its own interval.

    lowest: of a share, or of a difference of shares. The t-interval, which knows no bounds, is cut there and at 1 if
    all seeds' values and intervals lie within.
    """
    from scipy.stats import t

    values = {str(seed): estimate["value"] for seed, estimate in by_seed.items()}
    if len(by_seed) == 1:
        [only] = by_seed.values()
        return SeedEstimate(**only, by_seed=values)
    centre = mean(values.values())
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values.values()) / len(values) ** 0.5
    low, high = centre - half, centre + half
    if all(
        lowest <= min(each["low"], each["value"]) and max(each["high"], each["value"]) <= 1 for each in by_seed.values()
    ):
        low, high = max(lowest, low), min(1.0, high)
    return SeedEstimate(value=centre, low=low, high=high, num=len(values), by_seed=values)


def flatten_estimates(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Estimate]]:
    """All estimates in a run's result with dotted names. What rests on no items has no value and is left out."""
    for name, value in result.items():
        if not isinstance(value, Mapping):
            continue
        if "value" not in value:
            yield from flatten_estimates(value, f"{prefix}{name}.")
        elif value["value"] is not None and isfinite(value["value"]):
            yield (
                f"{prefix}{name}",
                Estimate(value=value["value"], low=value["low"], high=value["high"], num=value["num"]),
            )


def _choose_metrics(patterns: Sequence[str], results: Results) -> list[str]:
    known = dict.fromkeys(name for found in results.values() for name in found)
    return list(dict.fromkeys(name for pattern in patterns for name in known if fnmatchcase(name, pattern)))


def _family(metric: str) -> str:
    """The metrics that share a plot: those beside each other in the result."""
    return metric.rpartition(".")[0] or metric


def _render(title: str, results: Results, metrics: Sequence[str], missing: Sequence[str]) -> str:
    lines = [
        f"# {title}",
        "",
        "Mean over seeds with its 95 % t-interval; of one seed, the figure with its own 95 % interval.",
        "A figure that not all seeds of its arm have says how many it rests on.",
        "",
        f"| arm | seeds | {' | '.join(metrics)} |",
        f"|---|---|{'---|' * len(metrics)}",
    ]
    for arm, found in results.items():
        num_seeds = max(len(estimate["by_seed"]) for estimate in found.values())
        cells = [_cell(found.get(name), num_seeds=num_seeds) for name in metrics]
        lines.append(f"| {arm} | {num_seeds} | {' | '.join(cells)} |")
    if missing:
        lines += ["", f"Not in this table: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def _cell(estimate: SeedEstimate | None, *, num_seeds: int) -> str:
    """num_seeds: of the arm."""
    if estimate is None:
        return "–"
    num = len(estimate["by_seed"])
    fewer = "" if num == num_seeds else f" ({num} {'seed' if num == 1 else 'seeds'})"
    return f"{estimate['value']:.4g} [{estimate['low']:.4g}, {estimate['high']:.4g}]{fewer}"
