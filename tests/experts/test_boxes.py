"""Boxes: what cannot be shown or counted is dropped, and doubles of one object are one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.boxes import clean_detections, suppress_overlaps
from genrm.types import Detection


def found(box: tuple[float, float, float, float], *, score: float = 0.5, phrase: str = "dog") -> Detection:
    return Detection(phrase=phrase, score=score, box=box, expert="e", model="m")


def test_a_box_is_cut_to_the_image() -> None:
    (kept,) = clean_detections([found((-5, -1, 30, 12))], width=20, height=10)
    assert kept.box == (0, 0, 20, 10)


@pytest.mark.parametrize("box", [(3, 3, 3, 9), (9, 3, 3, 9), (30, 3, 40, 9), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)])
def test_a_box_without_area_inside_the_image_is_dropped(box: tuple[float, float, float, float]) -> None:
    assert clean_detections([found(box)], width=20, height=10) == []


@given(st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 4), max_size=8))
def test_every_cleaned_box_lies_inside_and_has_an_area(boxes: list[tuple[float, float, float, float]]) -> None:
    for kept in clean_detections([found(box) for box in boxes], width=33, height=7):
        x1, y1, x2, y2 = kept.box
        assert 0 <= x1 < x2 <= 33
        assert 0 <= y1 < y2 <= 7


def test_of_two_boxes_of_one_phrase_the_better_is_kept() -> None:
    weak, strong = found((0, 0, 10, 10), score=0.4), found((1, 0, 11, 10), score=0.9)
    assert suppress_overlaps([weak, strong], iou_threshold=0.5) == (strong,)


def test_boxes_of_different_phrases_do_not_suppress_each_other() -> None:
    dog, cat = found((0, 0, 10, 10), score=0.4), found((0, 0, 10, 10), score=0.9, phrase="cat")
    assert suppress_overlaps([dog, cat], iou_threshold=0.5) == (cat, dog)


def test_nothing_found_stays_nothing() -> None:
    assert suppress_overlaps([], iou_threshold=0.5) == ()
