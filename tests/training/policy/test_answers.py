"""Exact match of sentences: another style is the same answer, another content is not."""

import pytest

from pocket.questions import OPEN_ENDED
from pocket.rows import make_rows
from pocket.scenes import Split
from training.policy.answers import says_the_same

SIDE = "Is the dog left or right of the cat?"


@pytest.mark.parametrize(
    ("question", "reference", "answer"),
    [
        ("How many dogs are there?", "There are three dogs in the image.", "I count 3 dogs."),
        ("How many dogs are there?", "There are no dogs.", "The image shows zero dogs!"),
        ("Where is the dog?", "The dog is in the upper left.", "It is in the upper left of the image."),
        (SIDE, "The dog is to the left of the cat.", "It is left of the cat."),
        ("What does the sign say?", "The sign says exit.", "It says EXIT."),
        ("Is there a dog?", "Yes, there is a dog.", "Yes, I see that there is a dog."),
        ("Is there a dog?", "No, there is no dog.", "No."),
        ("Is there a dog?", "No, there is no dog.", "There isn't a dog."),
        ("Is there a dog or a cat?", "There is a dog.", "I can see a dog."),
        ("Are there more dogs or more cats?", "There are as many dogs as cats.", "I see as many cats as dogs."),
        ("What is on the red mat?", "There is a hot dog on the red mat.", "A hot dog."),
    ],
)
def test_another_style_is_the_same_answer(question: str, reference: str, answer: str) -> None:
    assert says_the_same(answer, reference, question)
    assert says_the_same(reference, answer, question)


@pytest.mark.parametrize(
    ("question", "reference", "answer"),
    [
        ("How many dogs are there?", "There are three dogs.", "There are dogs."),
        ("Where is the dog?", "The dog is in the upper left.", "The dog."),
        (SIDE, "The dog is to the left of the cat.", "The cat is to the left of the dog."),
        (SIDE, "The dog is to the left of the cat.", "The dog and the cat."),
        (SIDE, "The dog is to the left of the cat.", "It is left or right of the cat."),
        ("What does the sign say?", "The sign says exit.", "The sign says open."),
        ("Is there a dog?", "Yes, there is a dog.", "No, there is no dog."),
        ("Is it true that there is no dog?", "Yes, there is no dog.", "There is a dog."),
        ("Is it true that there is no dog?", "No, there is a dog.", "Yes, there is a dog."),
        ("Is there a dog or a cat?", "There is a dog.", "There is a dog and a cat."),
        ("Are there more dogs or more cats?", "There are more dogs than cats.", "There are more cats than dogs."),
        ("Is there a dog?", "No.", "There is a dog."),
        ("What is there?", "There is a dog.", ""),
        ("What is there?", "", ""),
        ("What is there?", "It is.", "There is."),
    ],
)
def test_another_content_is_another_answer(question: str, reference: str, answer: str) -> None:
    assert not says_the_same(answer, reference, question)
    assert not says_the_same(reference, answer, question)


def test_no_wrong_answer_of_the_pocket_world_passes_for_its_right_one() -> None:
    for row in make_rows(Split.DEV, 600):
        if row.kind not in OPEN_ENDED:
            wrong = row.response_b if row.label == "A" else row.response_a
            assert not says_the_same(wrong, row.ground_truth, row.question), (row.question, wrong)
            assert says_the_same(row.ground_truth.upper(), row.ground_truth, row.question)
