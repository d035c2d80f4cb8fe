"""Every kind of plot becomes a picture, with what it must show in it."""

import io
import threading
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from genrm.plots import (
    COLOURS,
    draw_bars,
    draw_curves,
    draw_differences,
    draw_histogram,
    draw_lines,
    draw_reliability,
    open_axes,
)
from training.statistics import Estimate, reliability_bins, share_with_interval

ESTIMATES = [share_with_interval(hits, 20) for hits in (5, 12, 20)]


@pytest.fixture
def intervals(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The lengths of all intervals that are drawn."""
    drawn: list[np.ndarray] = []
    draw = Axes.errorbar

    def record(self: Axes, *args: object, **options: object) -> object:
        drawn.append(np.asarray(options["yerr"]))
        return draw(self, *args, **options)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(Axes, "errorbar", record)
    return drawn


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 5, "an empty picture"
        return picture.size


def test_lines_carry_their_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bands: list[tuple[object, object]] = []
    monkeypatch.setattr(Axes, "fill_between", lambda _, x, low, high, **options: bands.append((low, high)))
    series: dict[str, list[tuple[float, Estimate]]] = {
        "judge": list(zip((1, 2, 4), ESTIMATES, strict=True)),
        "one": [(1.0, ESTIMATES[0])],
    }
    draw_lines(series, tmp_path / "a" / "lines.png", xlabel="N", ylabel="quality", title="Best of N", log2=True)
    assert size_of(tmp_path / "a" / "lines.png")[0] > 400
    assert bands[0] == ([e["low"] for e in ESTIMATES], [e["high"] for e in ESTIMATES])
    assert len(bands) == 2


def test_bars_of_one_name_stand_in_every_group_that_has_it(tmp_path: Path, intervals: list[np.ndarray]) -> None:
    bars = {"general": {"A": ESTIMATES[0], "B": ESTIMATES[1]}, "reasoning": {"B": ESTIMATES[2]}}
    draw_bars(bars, tmp_path / "bars.png", ylabel="accuracy", title="Groups", reference=0.5)
    size_of(tmp_path / "bars.png")
    assert [drawn.shape[1] for drawn in intervals] == [1, 2]


def test_differences_have_a_row_each_and_a_point_for_each_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[list[float], list[float]]] = []
    draw = Axes.errorbar

    def record(self: Axes, x: list[float], y: list[float], **options: object) -> object:
        drawn.append((x, y))
        return draw(self, x, y, **options)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(Axes, "errorbar", record)
    rows = {"a long name": {"B - A": ESTIMATES[0], "C - A": ESTIMATES[1]}, "other": {"C - A": ESTIMATES[2]}}
    draw_differences(rows, tmp_path / "d.png", xlabel="difference", title="Differences")
    size_of(tmp_path / "d.png")
    assert [x for x, _ in drawn] == [[0.25], [0.6, 1.0]]
    assert drawn[1][1][1] - drawn[1][1][0] == pytest.approx(1)


def test_a_reliability_diagram_and_a_histogram_are_drawn(tmp_path: Path) -> None:
    confidences = np.linspace(0.5, 1, 40)
    draw_reliability(reliability_bins(confidences, confidences > 0.7), tmp_path / "r.png", title="Reliability")
    draw_histogram({"kept": confidences.tolist()}, tmp_path / "h.png", xlabel="margin", ylabel="samples", title="Kept")
    size_of(tmp_path / "r.png")
    size_of(tmp_path / "h.png")


def test_curves_of_one_training_share_their_steps(tmp_path: Path) -> None:
    panels = {"loss (nats)": {"train": {1: 2.0, 2: 1.0}, "dev": {2: 1.5}}, "accuracy": {"dev": {2: 0.5}}}
    draw_curves(panels, tmp_path / "c.png", xlabel="step", title="A training")
    size_of(tmp_path / "c.png")


def test_axes_take_the_colours_in_turn_and_leave_the_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    with open_axes(io.BytesIO(), figsize=(3, 3), rows=2) as (top, bottom):
        lines = [top.plot([0, 1], [number, number])[0] for number in range(2)]
        bottom.plot([0, 5], [0, 0])
        assert [line.get_color() for line in lines] == list(COLOURS[:2])
        assert top.get_xlim() == bottom.get_xlim()
    assert dict(mpl.rcParams) == before


def test_the_same_plot_is_the_same_svg_file_in_any_thread() -> None:
    files = [io.BytesIO(), io.BytesIO()]

    def draw(file: io.BytesIO) -> None:
        with open_axes(file, figsize=(3, 3), kind="svg") as (axis,):
            axis.plot([0, 1], [0, 1])

    draw(files[0])
    thread = threading.Thread(target=draw, args=(files[1],))
    thread.start()
    thread.join()
    assert files[0].getvalue() == files[1].getvalue() != b""


def test_no_other_module_has_a_style_of_its_own() -> None:
    root = Path(__file__).parents[2]
    folders = ("genrm", "experts", "service", "training", "pocket", "bench")
    own = [
        path.relative_to(root).as_posix()
        for folder in folders
        for path in (root / folder).rglob("*.py")
        if any(word in path.read_text("utf-8") for word in ("pyplot as", "import pyplot", "rc_context(", "rcParams["))
    ]
    assert own == ["genrm/plots.py"]
