"""The shipped policy as statement checker: what the image contradicts is improbable, and it is asked once."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from PIL import Image

from experts.contract import ExpertError, StatementInquiry
from experts.likelihood_checker import LikelihoodChecker, measure_surprise
from experts.statement_scale import StatementScale
from experts.statements import find_statements
from genrm.engines.continuations import ReadText
from pocket.drawing import draw_scene
from pocket.scenes import Scene, Split, sample_scene


@pytest.fixture(scope="module")
def checker() -> LikelihoodChecker:
    return LikelihoodChecker.load("shipped", device="cpu")


@pytest.fixture(scope="module")
def scene() -> Scene:
    scenes = (sample_scene(Split.DEV, index) for index in range(1000))
    return next(scene for scene in scenes if scene.sign is not None and not scene.sign.text.isdigit())


def test_a_sign_that_says_otherwise_is_improbable(checker: LikelihoodChecker, scene: Scene) -> None:
    assert scene.sign is not None
    other = "STOP" if scene.sign.text != "STOP" else "EXIT"
    statements = (f"The sign says {scene.sign.text}.", f"The sign says {other}.")
    [(true, false)] = checker.check([StatementInquiry(images=(draw_scene(scene),), question="", statements=statements)])
    assert true > 0.9
    assert false < 0.1


def test_the_answer_depends_on_the_question_and_not_on_what_else_is_asked(
    checker: LikelihoodChecker, scene: Scene
) -> None:
    image, statement = draw_scene(scene), "I can see a dog and a cat."
    asked = [
        StatementInquiry(images=(image,), question="What is in the image?", statements=(statement,)),
        StatementInquiry(images=(image,), question="", statements=("The sign says STOP.", statement)),
    ]
    (objects,), (_, described) = checker.find_surprises(asked)
    fresh = LikelihoodChecker.load("shipped", device="cpu")
    [(alone,)] = fresh.find_surprises(asked[:1])
    assert objects == pytest.approx(alone, abs=1e-3)
    assert objects < described


def test_surprise_is_the_largest_excess_over_what_was_expected() -> None:
    """Token by token −ln p − H: 2 − 1.5, 3 − 2.5 and 4 − 0.25 nats; the largest is 3.75."""
    read = ReadText(
        logprobs=torch.tensor([-2.0, -3.0, -4.0]),
        entropies=torch.tensor([1.5, 2.5, 0.25]),
    )
    assert measure_surprise(read) == 3.75


class Reader:
    """Finds each text as surprising as it has words."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def read(self, asked: Sequence[tuple[Any, Sequence[str]]]) -> list[list[ReadText]]:
        self.asked += [tuple(texts) for _, texts in asked]
        zero = torch.zeros(1)
        return [
            [ReadText(logprobs=torch.tensor([-float(len(text.split()))]), entropies=zero) for text in texts]
            for _, texts in asked
        ]


def test_what_was_checked_is_remembered_by_the_picture_and_not_by_its_name(
    checker: LikelihoodChecker, monkeypatch: pytest.MonkeyPatch, picture: Image.Image
) -> None:
    reader = Reader()
    monkeypatch.setattr(checker, "_reader", reader)
    monkeypatch.setattr(checker, "scale", StatementScale(intercept=3.0, slope=1.0))

    def ask(image: Image.Image, *statements: str) -> tuple[float, ...]:
        [answer] = checker.check([StatementInquiry(images=(image,), question="?", statements=statements)])
        return answer

    assert ask(picture, "one two three", "one") == (0.5, probability_of(1))
    again = ask(picture.copy(), "one", "one two three", "<|im_end|>one two")
    assert again == (probability_of(1), 0.5, probability_of(2))
    ask(picture.rotate(90), "one")
    assert reader.asked == [("one two three", "one"), ("one two",), ("one",)]


def probability_of(num_words: int) -> float:
    return StatementScale(intercept=3.0, slope=1.0).probability(num_words)


def test_a_statement_that_cannot_be_read_is_an_experts_error(checker: LikelihoodChecker, picture: Image.Image) -> None:
    with pytest.raises(ExpertError, match="cannot read a statement"):
        checker.check([StatementInquiry(images=(picture,), question="", statements=("dog " * 3000,))])


@pytest.mark.parametrize("sign", ["红", "🐭", "é"])
def test_whatever_a_panel_puts_to_it_is_short_enough_to_be_read(
    checker: LikelihoodChecker, picture: Image.Image, sign: str
) -> None:
    texts = ("The mat is red.", *(f"It is so {sign * number}." for number in (150, 380)))
    statements = tuple(statement for text in texts for statement in find_statements(text))
    [probabilities] = checker.check([StatementInquiry(images=(picture,), question="", statements=statements)])
    assert len(probabilities) == len(statements) > 1


def test_probabilities_that_are_no_numbers_are_an_experts_error(
    checker: LikelihoodChecker, monkeypatch: pytest.MonkeyPatch, picture: Image.Image
) -> None:
    nan = torch.tensor([torch.nan])
    read = ReadText(logprobs=nan, entropies=nan)
    monkeypatch.setattr(checker._reader, "read", lambda _: [[read]])
    with pytest.raises(ExpertError, match="no numbers"):
        checker.check([StatementInquiry(images=(picture,), question="", statements=("Never asked before.",))])
