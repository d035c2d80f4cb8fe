"""One file of HTML that shows a run and needs nothing else: no script, no other host, no file beside it.

A `Page` says what is shown; `page.html.jinja` says where. Texts of rows and models are hostile: the template escapes
everything it is given, `make_visible` shows characters that act or hide, and the page's own policy forbids the browser
to load or run anything. `leave_page` makes the page at the end of a run, whose figures are written by then; whatever
goes wrong with it costs the page alone.
"""

import base64
import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experts.findings import FINDING_SIGNS, describe_claim, describe_ground
from training.html_report.cases import Case, Group
from training.html_report.pictures import Album, Picture
from training.html_report.plots import CAPTIONS
from training.html_report.visible import hide_credentials, make_visible, shorten
from training.jobs.files import write_text
from training.sources import Skipped
from training.statistics import Estimate

PAGE = "report.html"
MAX_TEXT_CHARS = 4_000
"""Of each text of an example."""
MAX_SKIPPED = 20
MAX_READINGS = 4
"""Of each example that are shown with their critiques; a judge that samples has more."""
_SIGNS = {"bad": "✗", "open": "?", "good": "✓"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What a page shows.

    lead: a line below the title. told: what was run, by name, in order. settings: everything else that is known of it,
    nested. tiles: the few figures at the top: name, value, and what stands below it. tables: estimates by name, by
    section. counts: plain numbers.
    """

    title: str
    lead: str
    told: Mapping[str, str]
    settings: Mapping[str, Any]
    tiles: Sequence[tuple[str, str, str]]
    tables: Mapping[str, Mapping[str, Estimate]]
    counts: Mapping[str, int | float] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    groups: Sequence[Group] = ()


def leave_page(folder: Path, make: Callable[[], Page]) -> Path | None:
    """Write `report.html` beside what a run has written; its path, or None if it could not be made, which the log says.

    An older page does not stay beside newer figures.
    """
    path = folder / PAGE
    try:
        write_text(path, render_page(make(), folder))
    except Exception as error:  # noqa: BLE001 - the run's figures are written; no page is worth losing them
        _log.warning("%s could not be made (%s: %s); all figures are in the other files.", path,
                     type(error).__name__, error)  # fmt: skip
        path.unlink(missing_ok=True)
        return None
    return path


def name_page(folder: Path) -> str:
    """What a command says of the page that a run has left in a folder; nothing if there is none."""
    return f"\nPage with figures, plots and examples: {folder / PAGE}" if (folder / PAGE).is_file() else ""


def render_page(page: Page, folder: Path) -> str:
    """The page as HTML. folder: where the plots are."""
    album = Album()
    plots = [
        (name, CAPTIONS[name], picture)
        for name in CAPTIONS
        if (picture := album.add_plot(folder / f"{name}.png")) is not None
    ]
    shown = [_Shown(case, group, *album.add_row(case.load_images)) for group in page.groups for case in group.cases]
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            page=page,
            settings=[(name, shorten(hide_credentials(value), 500)) for name, value in _flatten(page.settings)],
            plots=plots,
            shown=shown,
            style=Markup(style),  # noqa: S704 - our own file
            style_hash=digest,
            max_skipped=MAX_SKIPPED,
            max_readings=MAX_READINGS,
            finding_signs=FINDING_SIGNS,
            signs=_SIGNS,
        )
    )


@dataclass(frozen=True, slots=True)
class _Shown:
    """An example with its group and pictures. missing: what a reader must know of missing pictures."""

    case: Case
    group: Group
    pictures: list[Picture]
    missing: str


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "number": show_number,
        "text": lambda text: shorten(text, MAX_TEXT_CHARS),
        "claim": describe_claim,
        "ground": describe_ground,
        "percent": lambda value: f"{value:.1%}",
        "axis": _place_on_axis,
    }
    return environment


def _finalize(value: Any) -> Any:  # noqa: ANN401 - whatever a template shows
    """All that is shown goes through here, before it is escaped; `Markup` is the template's own."""
    return make_visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def show_number(value: float) -> str:
    """A figure of a table; a dash for what is not a number."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}".replace("-", "−") if math.isfinite(value) else "–"


def _place_on_axis(estimate: Estimate, estimates: Mapping[str, Estimate]) -> dict[str, float] | None:
    """Where an estimate lies on the axis of its table, in per cent: value, low, high and zero. None for no number.

    The axis is that of shares, wider where values go beyond it.
    """
    ends = [end for one in estimates.values() for end in (one["low"], one["high"]) if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([1.0, *ends])
    if low < 0:  # differences: around zero, as wide as they are
        high = max(-low, *ends)
        low = -high
    if not all(math.isfinite(estimate[key]) for key in ("value", "low", "high")):
        return None
    at = {"value": estimate["value"], "low": estimate["low"], "high": estimate["high"], "zero": 0.0}
    return {name: round(100 * (value - low) / (high - low), 2) for name, value in at.items()}


def _flatten(value: Any, name: str = "") -> list[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """Settings in lines, names of nested ones joined by dots."""
    if isinstance(value, Mapping):
        return [pair for key, each in value.items() for pair in _flatten(each, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple):
        return [(name, " ".join(map(str, value)) if value else "none")]
    shown = "none" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return [(name, shown)]
