"""Before and after: several policies that were measured on the same images, side by side.

Reads finished folders of `training.policy.measuring`. A difference is taken over the images that both folders have,
drawn together, so that images that are hard for everybody do not blur it. Figures of other images are refused, not
averaged away; captions that were checked by objects and by experts are not set against each other.
"""

from collections.abc import Mapping
from pathlib import Path

from genrm.errors import GenRMError
from genrm.plots import draw_bars, draw_differences
from training.evaluation.report import Report
from training.html_report.evaluated import leave_report_page
from training.jobs.files import read_json
from training.policy.pictures import wrap
from training.ratios import Parts, estimate_difference, estimate_ratio
from training.statistics import Estimate

_SCORES = "scores.json"
_POPE_DRAWN = ("accuracy", "yes ratio")
_WITHOUT_SHARE = "words"
"""A figure that is no share, and has no place beside shares."""


class NotComparableError(GenRMError, ValueError):
    """Folders cannot be set side by side: one is no finished measurement, or they share no images."""


def compare_policies(folders: Mapping[str, Path], output: Path, *, seed: int = 0) -> Report:
    """A report of all policies' figures and of how each differs from the first; writes `comparison/` in `output`.

    folders: at least two, by what the tables call them, the one that others are measured against first. Raises
    NotComparableError.
    """
    scores = {label: _read(label, folder) for label, folder in folders.items()}
    (first, base), *others = scores.items()
    report = Report(title="Policies compared", settings={label: str(folder) for label, folder in folders.items()})
    for label, found in scores.items():
        for path, parts in found.items():
            report.sections.setdefault(label, {})[path] = estimate_ratio(parts, seed=seed)
    for label, found in others:
        differences = {path: estimate_difference(found[path], base[path], seed=seed) for path in found if path in base}
        known = {path: estimate for path, estimate in differences.items() if estimate["num"]}
        if not known:
            raise NotComparableError(
                f"{folders[label]} and {folders[first]} have no image in common. Measure both on the same source."
            )
        report.sections[f"{label} - {first}"] = known
    report.save(output / "comparison")
    _draw(report, list(folders), output / "comparison")
    leave_report_page(report, output / "comparison", headline=(f"{others[0][0]} - {first}", "") if others else ("", ""))
    return report


def _read(label: str, folder: Path) -> dict[str, Parts]:
    scores: dict[str, Parts] | None = read_json(folder / _SCORES)
    if not scores:
        raise NotComparableError(
            f"{folder}, given as {label!r}, is no finished measurement: it has no {_SCORES}. Run `vl-genrm eval "
            "policy` with it as --output first."
        )
    return scores


def _draw(report: Report, labels: list[str], folder: Path) -> None:
    """One plot of values per task, and one of the differences."""
    for task in ("qa", "pope", "captions"):
        known = dict.fromkeys(path for label in labels for path in report.sections[label])
        names = [path for path in known if path.startswith(f"{task}: ") and _is_drawn(path)]
        values = {
            wrap(path.removeprefix(f"{task}: ").replace(": ", " ")): {
                label: report.sections[label][path] for label in labels if path in report.sections[label]
            }
            for path in names
        }
        if values:
            draw_bars(values, folder / f"{task}.png", ylabel="share", title=f"{task}: {' and '.join(labels)}")
    differences: dict[str, dict[str, Estimate]] = {}
    for label in labels[1:]:
        title = f"{label} - {labels[0]}"
        for path, estimate in report.sections[title].items():
            if _is_drawn(path):
                differences.setdefault(path, {})[title] = estimate
    draw_differences(differences, folder / "differences.png", xlabel="difference", title="Paired differences")


def _is_drawn(path: str) -> bool:
    """The figures that say most: overall and by group, POPE's main ones, and captions."""
    task, section, name = path.split(": ", 2)
    if task == "qa":
        return section in ("exact", "objects true, open-ended", "at least as good")
    return name in _POPE_DRAWN if task == "pope" else name != _WITHOUT_SHARE
