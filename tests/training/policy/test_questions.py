"""What is asked of a source: references, POPE's rows as published or made of objects, captions."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from training.policy.pope import SAMPLINGS
from training.policy.questions import ask_pope_of_objects, read_rows
from training.policy.selection import PolicyQuestions, choose_questions
from training.preference_rows import encode_images, make_preference_row, write_preference_rows
from training.tables import SourceError

Rows = Sequence[dict[str, object]]
WriteRows = Callable[[Rows], str]


def test_a_source_is_asked_for_all_that_it_has_rows_for(write_rows: WriteRows, rows: Rows) -> None:
    chosen = choose_questions(PolicyQuestions(source=write_rows(rows), num_captions=5))
    assert list(chosen.questions) == ["qa", "pope", "captions"]
    assert [question.is_open_ended for question in chosen.questions["qa"][:4]] == [False, False, True, False]
    assert [question.image for question in chosen.questions["captions"]] == [f"{i}.png" for i in range(5)]
    assert chosen.questions["captions"][0].objects == ("dog", "cat")


def test_made_questions_are_true_balanced_and_the_same_each_time(write_rows: WriteRows, rows: Rows) -> None:
    found = read_rows(write_rows(rows))
    asked = ask_pope_of_objects(found, num_images=10, pairs_per_image=2)
    objects = {row.image: set(row.objects or ()) for row in found}
    for question in asked:
        name = question.text.removeprefix("Is there a ").removesuffix(" in the image?")
        assert (name in objects[question.image]) == (question.label == "yes")
    assert Counter((question.sampling, question.label) for question in asked) == {
        (sampling, label): 20 for sampling in SAMPLINGS for label in ("yes", "no")
    }
    again = ask_pope_of_objects(found, num_images=10, pairs_per_image=2)
    assert [question.text for question in again] == [question.text for question in asked]
    other = ask_pope_of_objects(found, num_images=10, pairs_per_image=2, seed=1)
    assert [question.text for question in other] != [question.text for question in asked]


def test_objects_may_be_names_or_json(write_rows: WriteRows, rows: Rows) -> None:
    changed: list[dict[str, object]] = [{**rows[0], "objects": ["dog", "dog"]}, {**rows[1], "objects": '["cat"]'}]
    assert [row.objects for row in read_rows(write_rows(changed))] == [("dog", "dog"), ("cat",)]


@pytest.mark.parametrize(
    "fields",
    [{"text": "Is there a dog in the image?", "label": "no", "question_id": 1},
     {"question": "Is there a dog in the image?", "answer": "no", "category": "popular", "id": "x"}],
)  # fmt: skip
def test_published_rows_of_pope_are_asked_as_they_are(write_rows: WriteRows, fields: dict[str, object]) -> None:
    chosen = choose_questions(PolicyQuestions(source=write_rows([{**fields, "image": "a.png"}])))
    assert list(chosen.questions) == ["pope"]
    [question] = chosen.questions["pope"]
    assert (question.text, question.label) == ("Is there a dog in the image?", "no")
    assert question.sampling == fields.get("category", "all")
    assert question.image == "a.png"


def test_a_reference_of_yes_is_no_row_of_pope(write_rows: WriteRows) -> None:
    chosen = choose_questions(
        PolicyQuestions(source=write_rows([{"question": "Red?", "answer": "yes", "image": "a.png"}]))
    )
    assert list(chosen.questions) == ["qa", "captions"]


def test_a_task_without_questions_is_refused_with_what_it_needs(write_rows: WriteRows, rows: Rows) -> None:
    bare: list[dict[str, object]] = [{"id": "x", "image": "a.png"}]
    with pytest.raises(SourceError, match="task qa needs: question"):
        choose_questions(PolicyQuestions(source=write_rows(bare), tasks=("qa",)))
    with pytest.raises(SourceError, match="task pope needs: objects"):
        choose_questions(PolicyQuestions(source=write_rows(bare), tasks=("captions", "pope")))
    source = write_rows(rows)
    with pytest.raises(SourceError, match=json.dumps(source)[1:-1]):
        choose_questions(PolicyQuestions(source=source, pope=source, tasks=("pope",)))


def test_rows_without_a_reference_are_skipped_with_the_reason(write_rows: WriteRows, rows: Rows) -> None:
    source = write_rows([*rows[:2], {"id": "x", "image": "x.png", "question": "What?"}])
    chosen = choose_questions(PolicyQuestions(source=source, tasks=("qa",)))
    assert [(row.id, row.reason) for row in chosen.skipped] == [("x", "it has no reference answer.")]
    assert len(chosen.questions["qa"]) == 2


def test_pictures_of_rows_that_share_an_id_are_told_apart(tmp_path: Path) -> None:
    nameless = [
        make_preference_row(
            images=encode_images([Image.new("RGB", (8, 8), colour)]), question="What?", chosen="It.", rejected="No.",
            id="same",
        )
        for colour in ("red", "blue")
    ]  # fmt: skip
    write_preference_rows(tmp_path / "rows.parquet", nameless, texts=("id",))
    assert len({row.image for row in read_rows(str(tmp_path))}) == 2


def test_an_object_is_one_whatever_a_row_calls_it(write_rows: WriteRows) -> None:
    rows: Rows = [{"id": str(i), "image": f"{i}.png", "objects": [n, "dog"]} for i, n in enumerate(("sofa", "couch"))]
    asked = ask_pope_of_objects(read_rows(write_rows(rows)), num_images=2, pairs_per_image=2)
    assert {question.label for question in asked} <= {"yes"}, "nothing is in one image and not in the other"
