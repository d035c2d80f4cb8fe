"""What `--dry-run` shows, and how it writes sizes and times."""

import io

import pytest
from rich.console import Console

from training.jobs.plan import Plan, PlannedStep, format_count, format_seconds


def test_a_plan_shows_every_step_and_the_total() -> None:
    steps = (
        PlannedStep(name="sample", detail="2000 critiques", num_tokens=1_500_000, seconds=600),
        PlannedStep(name="train", detail="100 steps", num_tokens=250_000, seconds=3300),
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(Plan(steps=steps, notes=("18 GB of GPU memory",)).render())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert [[word.strip() for word in line.split("│")[1:5]] for line in text.splitlines() if line.startswith("│")] == [
        ["sample", "2000 critiques", "1.5M", "10 min"],
        ["train", "100 steps", "250k", "55 min"],
        ["in all", "", "1.8M", "1 h 05 min"],
    ]
    assert "18 GB of GPU memory" in text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (1000, "1.0k"), (12_345, "12k"), (2e9, "2.0B")])
def test_a_count_has_two_or_three_digits(number: float, text: str) -> None:
    assert format_count(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "1 h 00 min")])
def test_a_duration_is_as_people_say_it(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
