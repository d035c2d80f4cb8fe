"""The pocket world as a source of rows: comparisons, and candidates of known quality."""

import pytest

from pocket.rows import make_row
from pocket.scenes import Split
from pocket.training_source import PocketSourceError, open_split
from training.sources import read_examples, read_pairs


def test_rows_of_the_source_are_those_of_the_split() -> None:
    pairs = read_pairs("pocket:dev?n=30&seed=2", limit=12).rows
    rows = [make_row(Split.DEV, index, seed=2) for index in range(12)]
    assert [(p.id, p.response_a, p.response_b, p.label) for p in pairs] == [
        (r.id, r.response_a, r.response_b, r.label) for r in rows
    ]
    assert {pair.group for pair in pairs} == {"general", "hallucination", "reasoning"}


def test_questions_come_with_their_right_answers() -> None:
    example = read_examples("pocket:train?n=5").rows[4]
    assert example.reference == make_row(Split.TRAIN, 4).ground_truth


@pytest.mark.usefixtures("emoji_font")
def test_the_picture_of_a_row_is_its_scene() -> None:
    assert read_pairs("pocket:dev?n=1").rows[0].load().images[0].size == (168, 168)


def test_candidates_have_the_share_of_their_statements_that_is_true() -> None:
    rows = open_split("held-out?n=20&candidates=16")
    qualities = [c["quality"] for row in rows for c in row["candidates"]]
    assert len(qualities) == 320
    assert {0.0, 0.5, 1.0} <= set(qualities)
    assert 0.4 < sum(qualities) / 320 < 0.6
    assert rows[3]["candidates"] == open_split("held-out?n=4&candidates=16")[3]["candidates"]


def test_slices_and_ends_are_those_of_a_sequence() -> None:
    rows = open_split("shifted?n=4")
    assert [row["id"] for row in rows[1:3]] == [rows[1]["id"], rows[2]["id"]]
    assert rows[-1]["id"] == rows[3]["id"]
    with pytest.raises(IndexError):
        rows[4]


@pytest.mark.parametrize("argument", ["", "nowhere", "dev?n=many", "dev?rows=3", "dev?n=-1"])
def test_what_is_no_split_is_refused_with_what_is_one(argument: str) -> None:
    with pytest.raises(PocketSourceError, match="pocket:SPLIT"):
        open_split(argument)
