"""Captions are checked against known objects, or else by experts."""

from collections.abc import Sequence

import pytest
from PIL import Image

import experts.grounding_dino
from experts.fake import FakeExpert
from training.policy.captions import check_captions
from training.policy.questions import Question
from training.tables import SourceError


def make_captions(objects: Sequence[tuple[str, ...] | None]) -> list[tuple[Question, str]]:
    return [
        (
            Question(
                id=str(number),
                source="rows.jsonl",
                image=str(number),
                text="Describe.",
                objects=each,
                load_images=lambda: (Image.new("RGB", (56, 56)),),
            ),
            "There is a dog and a horse.",
        )
        for number, each in enumerate(objects)
    ]


@pytest.fixture
def expert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finds one dog in every picture, and nothing else."""
    monkeypatch.setattr(experts.grounding_dino.GroundingDino, "load", lambda *_: FakeExpert({"dog": 1}))


def test_objects_that_all_rows_name_are_the_truth() -> None:
    checks = check_captions(make_captions([("horse",), ("dog", "horse")]), by="auto")
    assert [(image, check.absent) for image, check in checks] == [("0", ("dog",)), ("1", ())]


@pytest.mark.usefixtures("expert")
def test_experts_are_asked_where_a_row_is_silent() -> None:
    checks = check_captions(make_captions([("horse",), None]), by="auto")
    assert [check.absent for _, check in checks] == [("horse",), ("horse",)]


def test_objects_that_are_wanted_and_missing_are_refused() -> None:
    with pytest.raises(SourceError, match="1 of 2 rows do not say"):
        check_captions(make_captions([("horse",), None]), by="objects")
