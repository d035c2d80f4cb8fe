"""The page of an evaluation: a `Report` with its plots and, where it has some, its examples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.html_report.cases import Group
from training.html_report.page import Page, leave_page, show_number

if TYPE_CHECKING:
    from training.evaluation.report import Report


def leave_report_page(
    report: "Report",
    folder: Path,
    choose: Callable[[], Sequence[Group]] = tuple,
    *,
    headline: tuple[str, str] = ("", ""),
) -> Path | None:
    """Write the page of a report that is saved; see `leave_page`. choose: makes the groups of examples.

    headline: section and name of the figure that says most; by default the first one.
    """
    return leave_page(folder, lambda: make_report_page(report, choose(), headline=headline))


def make_report_page(report: "Report", groups: Sequence[Group], *, headline: tuple[str, str] = ("", "")) -> Page:
    """What the page of a report shows; arguments as for `leave_report_page`."""
    told = describe_run(report.settings)
    return Page(
        title=report.title,
        lead=make_lead(told),
        told=told | {"Rows skipped": f"{len(report.skipped):,}"},
        settings=report.settings,
        tiles=[*_make_headline(report, headline), *make_tiles(groups)],
        tables=report.sections,
        counts=report.counts,
        skipped=report.skipped,
        groups=groups,
    )


def make_tiles(groups: Sequence[Group]) -> list[tuple[str, str, str]]:
    """How many there are of each group."""
    total = sum(group.num for group in groups)
    return [(group.title, f"{group.num:,}", f"of {total:,}") for group in groups]


def make_lead(told: Mapping[str, str]) -> str:
    """The most of what was run in one line. told: of `describe_run`."""
    who = [f"{name.lower()} “{told[name]}”" for name in ("Policy", "Judge") if name in told]
    return " · ".join([*filter(None, [told.get("Rows of")]), *who, *filter(None, [told.get("Made", "")[:10]])])


def describe_run(settings: Mapping[str, Any]) -> dict[str, str]:
    """What was run, for people: source, model, options, seed, commit and date, as far as the settings say so."""
    environment = settings.get("environment") or {}
    judge, policy, options = (settings.get(name) or {} for name in ("judge", "policy", "options"))
    asked = (
        f"{options['mode']}, samples per order: {options['samples']}, experts: {options['experts']}" if options else ""
    )
    told = {
        "Rows of": settings.get("source"),
        "Published outputs": settings.get("outputs"),
        "Policy": _short_name(policy.get("model")),
        "Judge": _short_name(judge.get("model")),
        "Asked for": asked,
        "Seed": settings.get("seed"),
        "Made": environment.get("started", "").replace("T", " ").removesuffix("+00:00") + " UTC" if environment else "",
        "Version": describe_version(environment) if environment else "",
    }
    return {name: str(value) for name, value in told.items() if value not in (None, "")}


def describe_version(environment: Mapping[str, Any]) -> str:
    """Version and commit, and whether files were changed."""
    commit = environment.get("commit")
    changed = " with changed files" if environment.get("dirty") else ""
    return f"vl-genrm {environment.get('vl-genrm') or 'of unknown version'}" + (
        f", commit {commit[:12]}{changed}" if commit else ""
    )


def _short_name(name: object) -> str:
    """The last two parts of a folder's name: enough to know a model by, and no path of somebody's machine."""
    return "/".join(str(name or "").rstrip("/").split("/")[-2:])


def _make_headline(report: "Report", wanted: tuple[str, str]) -> list[tuple[str, str, str]]:
    section = wanted[0] if wanted[0] in report.sections else next(iter(report.sections), None)
    if section is None or not report.sections[section]:
        return []
    estimates = report.sections[section]
    name = wanted[1] if wanted[1] in estimates else next(iter(estimates))
    found = estimates[name]
    interval = f"[{show_number(found['low'])}, {show_number(found['high'])}]"
    return [
        (
            f"{section}: {name}",
            show_number(found["value"]),
            f"95 % interval {interval}",
        )
    ]
