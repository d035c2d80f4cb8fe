"""What every evaluation leaves behind: one structure, written as JSON and as a table, with plots beside it.

A report has sections of named estimates (a value with its 95 % interval and the number of items), so that a reader, a
table and a later comparison find all figures in the same place.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.jobs.files import write_text
from training.sources import Skipped
from training.statistics import Estimate


@dataclass(kw_only=True, slots=True)
class Report:
    """The outcome of one evaluation.

    settings: what it was made from (source, judge, options, seed). sections: estimates by name, by section; shares and
    accuracies are in [0, 1]. counts: plain numbers. details: whatever plots or later steps need, ready for JSON.
    """

    title: str
    settings: Mapping[str, Any]
    sections: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    counts: Mapping[str, int | float] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `report.json` and `report.txt`."""
        record = {
            "title": self.title,
            "settings": dict(self.settings),
            "sections": self.sections,
            "counts": dict(self.counts),
            "skipped": {"num": len(self.skipped), "rows": [asdict(row) for row in self.skipped]},
            "details": self.details,
        }
        write_text(folder / "report.json", json.dumps(_without_nan(record), indent=2, ensure_ascii=False) + "\n")
        write_text(folder / "report.txt", self.render() + "\n")

    def render(self) -> str:
        """The report as plain text for people."""
        width = max([28, *(len(name) + 4 for section in self.sections.values() for name in section)])
        lines = [self.title, f"{'':{width}}{'value':>8}  {'95 % interval':<17}{'n':>7}"]
        for section, estimates in self.sections.items():
            lines.append(f"-- {section}")
            lines += [
                f"  {name:{width - 2}}{e['value']:>8.3f}  [{e['low']:>6.3f}, {e['high']:>6.3f}] {e['num']:>7,}"
                for name, e in estimates.items()
            ]
        lines += [f"{name}: {value:,}" for name, value in self.counts.items()]
        if self.skipped:
            lines.append(f"skipped rows: {len(self.skipped)} (report.json names them and says why)")
        return "\n".join(lines)


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The value with null for what is not a number, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return value
