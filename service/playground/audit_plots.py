"""The audit's four pictures, as SVG with a description in words, in the style of all plots (`genrm.plots`)."""

import base64
import io
from collections.abc import Sequence

from genrm.plots import COLOURS, GREY, open_axes
from service.playground.audit import Audit, Share
from service.playground.cards import show_text

_BLUE, _ORANGE = COLOURS[0], COLOURS[4]
_FIGSIZE = (3.6, 3.0)
_Bar = tuple[str, Share, str]
"""Its name, what it shows, and its colour."""


def render_plots(audit: Audit) -> str:
    """HTML with all four. Takes CPU time."""
    plots = (
        _plot_shares(
            "Position",
            [("orders\ndisagree", audit.count_flips(), _ORANGE), ("first\npreferred", audit.count_first(), _BLUE)],
            "share",
            fair=0.5,
        ),
        _plot_shares("Length", _compare("longer", audit.count_longer(), audit.count_longer(of_truth=True)), "share"),
        _plot_shares("Yes", _compare('"yes"', audit.count_yes(), audit.count_yes(of_truth=True)), "share"),
        _plot_calibration(audit),
    )
    return f'<div class="vg-plots">{"".join(plots)}</div>'


def _compare(name: str, judged: Share, truth: Share) -> list[_Bar]:
    return [(f"judge prefers\n{name}", judged, _BLUE), (f"{name} is\ntruly better", truth, GREY)]


def _plot_shares(title: str, bars: Sequence[_Bar], unit: str, *, fair: float | None = None) -> str:
    file = io.BytesIO()
    with open_axes(file, figsize=_FIGSIZE, kind="svg") as (axes,):
        for place, (_, share, colour) in enumerate(bars):
            low, high = share.interval
            if share.total:
                axes.bar(place, share.value, width=0.55, color=colour)
                axes.vlines(place, low, high, color="black", linewidth=1.5)
            axes.text(place, 1.03, f"{share.count}/{share.total}", ha="center", fontsize=9)
        if fair is not None:
            axes.axhline(fair, color=GREY, linestyle="--", linewidth=1)
        axes.set_xticks(range(len(bars)), [name for name, _, _ in bars])
        axes.set_xlim(-0.6, len(bars) - 0.4)
        axes.set_ylim(0, 1.12)
        axes.set(title=title, ylabel=f"{unit} (line: 95 % interval)")
    said = "; ".join(f"{name.replace(chr(10), ' ')}: {share.describe()}" for name, share, _ in bars)
    return _show(file, f"{title}. {said}")


def _plot_calibration(audit: Audit) -> str:
    bins = audit.bin_confidence()
    file = io.BytesIO()
    with open_axes(file, figsize=_FIGSIZE, kind="svg") as (axes,):
        axes.plot([0.5, 1], [0.5, 1], color=GREY, linestyle="--", linewidth=1)
        for each in bins:
            axes.vlines(each.confidence, *each.right.interval, color="black", linewidth=1.5)
        axes.plot([each.confidence for each in bins], [each.right.value for each in bins], "o", color=_BLUE)
        if not bins:
            axes.text(0.75, 0.4, "no row says\nwhich response is better", ha="center")
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(0, 1.04)
        axes.set(title="Calibration", xlabel="mean probability of what the judge prefers")
        axes.set_ylabel("share right (line: 95 % interval)")
    said = "; ".join(f"at {each.confidence:.2f}: {each.right.describe()} right" for each in bins)
    return _show(file, f"Calibration. {said or 'Nothing to show: no row says which response is better'}")


def _show(file: io.BytesIO, words: str) -> str:
    url = f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img class="vg-plot" src="{url}" alt="{show_text(words)}">'
