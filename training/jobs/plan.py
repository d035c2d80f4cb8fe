"""What a job is going to do and what that costs, before it does it: what `--dry-run` prints."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedStep:
    """One step of a job. The figures are estimates.

    name: what `RunFolder.mark_done` will be told. detail: how much of what, in words. num_tokens: read and written by
    models.
    """

    name: str
    detail: str
    num_tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The steps of a job in their order. notes: what else one should know before starting it (memory, devices)."""

    steps: tuple[PlannedStep, ...]
    notes: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Estimated tokens of all steps."""
        return sum(step.num_tokens for step in self.steps)

    @property
    def seconds(self) -> float:
        """Estimated seconds of all steps."""
        return sum(step.seconds for step in self.steps)

    def render(self) -> "Table":
        """The plan as a table for people, with a total."""
        from rich.table import Table

        table = Table("step", "what", caption="\n".join(self.notes) or None, caption_justify="left", show_footer=True)
        table.columns[0].footer = "in all"
        table.add_column("tokens", justify="right", footer=format_count(self.num_tokens))
        table.add_column("time", justify="right", footer=format_seconds(self.seconds))
        for step in self.steps:
            table.add_row(step.name, step.detail, format_count(step.num_tokens), format_seconds(step.seconds))
        return table


def format_count(number: float) -> str:
    """A count to two or three digits: 950, 12k, 3.4M, 1.2B."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.{0 if number >= 10 * size else 1}f}{letter}"
    return f"{number:.0f}"


def format_seconds(seconds: float) -> str:
    """A duration as people say it: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
