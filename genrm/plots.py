"""How everything is plotted: one style, and the few kinds of plot that reports, studies and benchmarks draw.

Axes are labelled, intervals drawn, and colours (Okabe and Ito's) can be told apart by colour-blind readers. matplotlib
is imported when something is drawn, and its `pyplot` never: figures here may be drawn in any thread and need no screen.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from genrm.estimates import Estimate, ReliabilityBin, share_with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#595959"
"""Of what is compared with: the truth, chance, perfection."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE: dict[Any, Any] = {
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 110,
    "svg.fonttype": "path",  # looks the same where the font is missing
    "svg.hashsalt": "0",  # the same picture is the same file
}
_STYLE_LOCK = threading.RLock()
"""matplotlib has one style for the whole process, and plots are drawn in threads."""


@contextmanager
def use_style(*, is_hinted: bool = True) -> "Iterator[None]":
    """The style of every plot, while figures are made and saved; matplotlib's settings are as before afterwards.

    is_hinted: letters are fitted to pixels; otherwise they are as wide as measured at any size and in any kind of file.
    """
    import matplotlib as mpl

    with _STYLE_LOCK, mpl.rc_context(_STYLE if is_hinted else _STYLE | {"text.hinting": "none"}):
        yield


@contextmanager
def open_axes(
    file: Path | IO[bytes],
    *,
    figsize: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    height_ratios: Sequence[float] | None = None,
    kind: str = "png",
) -> "Iterator[Sequence[Axes]]":
    """Axes in the one style, row by row; those of a column share x. Written to `file` at the end.

    file: its folder is made. figsize: inches. kind: `png` or `svg`.
    """
    from matplotlib.figure import Figure

    if isinstance(file, Path):
        file.parent.mkdir(parents=True, exist_ok=True)
    with use_style():
        figure = Figure(figsize=figsize, layout="constrained")
        yield list(figure.subplots(rows, columns, squeeze=False, sharex="col", height_ratios=height_ratios).flat)
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)


def draw_reliability(bins: Sequence[ReliabilityBin], path: Path, *, title: str) -> None:
    """Accuracy against confidence with Wilson intervals, and below it how many verdicts are in each bin."""
    x, accuracy, num = (np.array([row[key] for row in bins]) for key in ("confidence", "accuracy", "num"))
    shares = [share_with_interval(a * n, int(n)) for a, n in zip(accuracy, num, strict=True)]
    with open_axes(path, rows=2, figsize=(5, 6), height_ratios=(3, 1)) as (top, bottom):
        top.plot([0.5, 1], [0.5, 1], color=GREY, linestyle="--", label="perfect calibration")
        top.errorbar(
            x, accuracy, yerr=_errors(shares), fmt="o", capsize=3, color=COLOURS[0], label="judge, 95 % interval"
        )
        top.set(ylabel="accuracy", ylim=(0, 1.03), title=title)
        top.legend(loc="lower right")
        bottom.bar(x, num, width=0.03, color=COLOURS[0])
        bottom.set(xlabel="probability of the preferred response", ylabel="comparisons", xlim=(0.48, 1.02))


def draw_lines(
    series: Mapping[str, Sequence[tuple[float, Estimate]]],
    path: Path,
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    log2: bool = False,
) -> None:
    """Several curves with intervals. series: points (x, estimate) by name. log2: x in powers of two, as they are."""
    with open_axes(path, figsize=(6.4, 4.4)) as (axis,):
        for number, (name, points) in enumerate(series.items()):
            x, found = [x for x, _ in points], [estimate for _, estimate in points]
            colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number % len(_MARKERS)]
            axis.plot(x, [e["value"] for e in found], color=colour, marker=marker, label=name)
            axis.fill_between(x, [e["low"] for e in found], [e["high"] for e in found], color=colour, alpha=0.15, lw=0)
        if log2:
            ticks = sorted({x for points in series.values() for x, _ in points})
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        axis.legend()


def draw_curves(
    panels: Mapping[str, Mapping[str, Mapping[int, float]]], path: Path, *, xlabel: str, title: str
) -> None:
    """Curves of one training, one panel above the other. panels: value by step, by name of the curve, by what the panel
    shows (with its unit). A single reading per step has no interval.
    """
    with open_axes(path, rows=len(panels), figsize=(6.4, 1.2 + 2.0 * len(panels))) as axes:
        for axis, (ylabel, curves) in zip(axes, panels.items(), strict=True):
            for name, values in curves.items():
                axis.plot(list(values), list(values.values()), label=name)
            axis.set(ylabel=ylabel)
            if len(curves) > 1:
                axis.legend()
        axes[0].set(title=title)
        axes[-1].set(xlabel=xlabel)


def draw_bars(
    bars: Mapping[str, Mapping[str, Estimate]],
    path: Path,
    *,
    ylabel: str,
    title: str,
    reference: float | None = None,
    ylim: tuple[float, float] | None = (0.0, 1.03),
) -> None:
    """Grouped bars with intervals. bars: estimates by name of the bar within its group, by name of the group.

    reference: a dashed line, e.g. chance. ylim: None leaves it to the data.
    """
    names = list(dict.fromkeys(name for group in bars.values() for name in group))
    width = 0.8 / max(len(names), 1)
    with open_axes(path, figsize=(max(5.0, 1.2 + 0.9 * len(bars) + 0.35 * len(bars) * len(names)), 4.2)) as (axis,):
        for number, name in enumerate(names):
            places = [
                i + (number - (len(names) - 1) / 2) * width for i, group in enumerate(bars.values()) if name in group
            ]
            found = [group[name] for group in bars.values() if name in group]
            axis.bar(
                places,
                [e["value"] for e in found],
                width=0.92 * width,
                color=COLOURS[number % len(COLOURS)],
                label=name,
            )
            axis.errorbar(places, [e["value"] for e in found], yerr=_errors(found), fmt="none", ecolor="0.2", capsize=3)
        if reference is not None:
            axis.axhline(reference, color=GREY, linestyle="--")
        axis.set_xticks(range(len(bars)), list(bars))
        axis.set(ylabel=ylabel, title=title)
        if ylim is not None:
            axis.set_ylim(*ylim)
        if len(names) > 1:
            axis.figure.legend(loc="outside lower center", ncols=min(3, len(names)))


def draw_differences(
    rows: Mapping[str, Mapping[str, Estimate]], path: Path, *, xlabel: str, title: str, reference: float = 0.0
) -> None:
    """Points with intervals, a row for each name, which may be long. rows: estimates by series, by name of the row.

    reference: a dashed line, no difference.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    with open_axes(path, figsize=(7.5, 1.6 + (0.16 + 0.14 * len(names)) * len(rows))) as (axis,):
        for number, name in enumerate(names):
            shift = (number - (len(names) - 1) / 2) * 0.6 / len(names)
            places = [place + shift for place, row in enumerate(rows.values()) if name in row]
            found = [row[name] for row in rows.values() if name in row]
            axis.errorbar(
                [e["value"] for e in found],
                places,
                xerr=_errors(found),
                fmt=_MARKERS[number % len(_MARKERS)],
                color=COLOURS[number % len(COLOURS)],
                capsize=3,
                label=name,
            )
        axis.axvline(reference, color=GREY, linestyle="--")
        axis.set_yticks(range(len(rows)), list(rows))
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set(xlabel=xlabel, title=title)
        axis.figure.legend(loc="outside lower center", ncols=min(3, len(names)))


def draw_histogram(
    values: Mapping[str, Sequence[float]], path: Path, *, xlabel: str, ylabel: str, title: str, num_bins: int = 20
) -> None:
    """Distributions over one axis, by name, in common bins."""
    edges = np.histogram_bin_edges(np.concatenate([np.asarray(v, dtype=float) for v in values.values()]), num_bins)
    with open_axes(path, figsize=(6, 4)) as (axis,):
        for number, (name, each) in enumerate(values.items()):
            axis.hist(
                each, bins=list(edges), histtype="step", linewidth=1.8, color=COLOURS[number % len(COLOURS)], label=name
            )
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        if len(values) > 1:
            axis.legend()


def _errors(estimates: Sequence[Estimate]) -> np.ndarray:
    """Lengths below and above the value, shape (2, n); rounding may put an end on the wrong side of it."""
    lengths: np.ndarray = np.array([(e["value"] - e["low"], e["high"] - e["value"]) for e in estimates], dtype=float)
    return lengths.reshape(-1, 2).T.clip(min=0)
