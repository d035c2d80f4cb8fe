"""The page of a policy: wrong answers first, beside the reference, with all tasks in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from training.engines import EngineChoice
from training.policy.comparing import compare_policies
from training.policy.measuring import PolicyMeasuring, measure_policy

Rows = Sequence[dict[str, object]]


@pytest.fixture
def measure(install: Callable[..., Any], write_rows: Callable[[Rows], str], rows: Rows) -> Callable[..., Any]:
    """Measures a policy that says yes to everything and sees a dog in each picture, or says something else."""
    source = write_rows(rows)

    def do(folder: Path, say: str = "Yes.") -> Any:
        install(lambda question: "A dog." if question.startswith("Describe") else say)
        settings = PolicyMeasuring(source=source, pope_images=6, num_captions=6)
        return measure_policy(EngineChoice(), settings, folder)

    return do


def test_wrong_answers_come_first_with_reference_and_answer(
    measure: Callable[..., Any], tmp_path: Path, read_page: Callable[[Path], Any]
) -> None:
    measure(tmp_path / "out")
    page = read_page(tmp_path / "out")
    assert page.list_outcomes() == ["bad"] * 16 + ["good"] * 4
    assert "Answer of the policy Yes." in page.text
    assert "Reference There is one dog." in page.text
    assert "Wrong: counts as yes; no is right" in page.text
    assert "Wrong: names dog, not there" in page.text
    assert len(page.find("figure")) == len(list((tmp_path / "out").glob("*.png"))) == 4


def test_policies_side_by_side_leave_a_page_without_examples(
    measure: Callable[..., Any], tmp_path: Path, read_page: Callable[[Path], Any]
) -> None:
    measure(tmp_path / "one")
    measure(tmp_path / "other", "No.")
    compare_policies({"before": tmp_path / "one", "after": tmp_path / "other"}, tmp_path / "other")
    folder = tmp_path / "other" / "comparison"
    page = read_page(folder)
    assert page.list_outcomes() == []
    assert "after - before" in page.text
    assert len(page.find("figure")) == len(list(folder.glob("*.png")))
