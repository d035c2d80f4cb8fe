"""Scores of texts behind prompts: what a plain forward pass gives, whatever stands beside them in the batch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image

from genrm.engines.contract import Prompt
from genrm.engines.loading import choose_placement, load_model
from genrm.engines.preparation import render_text
from training.critiques import CritiqueConfig, Written, drop_hint_dependent
from training.engines import EngineChoice
from training.sources import read_pairs
from training.text_scoring import TextScorer

SHORT = Prompt(system="", images=(Image.new("RGB", (56, 56), "red"),), shared="What is it? ", tail="Say it.")
LONG = Prompt(
    system="You answer.",
    images=(Image.new("RGB", (168, 112), "navy"), Image.new("RGB", (56, 84), "white")),
    shared="What do both pictures have in common? ",
    tail="First response: a dog and two cats. Second response: nothing at all.",
)
AGAIN = replace(SHORT, images=(Image.new("RGB", (56, 56), "red"),), tail="Say what it is not.")
TEXTS = (
    (SHORT, "A dog."),
    (AGAIN, "No cat, of which it is said that it is white."),
    (SHORT, "A dog."),
    (LONG, "The first response names a dog and two cats.\nVerdict: Second"),
)
"""The first three share their image and the beginning of their prompts."""


def score_alone(prompt: Prompt, text: str) -> torch.Tensor:
    """By transformers' own processor and one pass over one text, with nothing shared or left out."""
    placement = choose_placement(device="cpu", dtype="float32", attention="sdpa")
    loaded = load_model(EngineChoice().model_name, placement=placement)
    processor, model = cast("Any", loaded.processor), cast("Any", loaded.model)
    ending = text + processor.tokenizer.eos_token
    inputs = processor(
        text=[render_text(processor, prompt) + ending],
        images=list(prompt.images),
        return_tensors="pt",
        return_mm_token_type_ids=True,
    )
    num = len(processor.tokenizer(ending, add_special_tokens=False)["input_ids"])
    with torch.inference_mode():
        logprobs = model(**inputs).logits[0, :-1].log_softmax(-1)
    found: torch.Tensor = logprobs.gather(1, inputs["input_ids"][0, 1:, None])[-num:, 0]
    return found


def test_scores_in_a_packed_batch_are_those_of_a_plain_pass() -> None:
    scores = score_all(TextScorer(EngineChoice()), TEXTS)
    assert len(scores[0]) < len(scores[1])
    assert torch.allclose(scores[0], scores[2], atol=1e-5)
    for score, (prompt, text) in zip(scores, TEXTS, strict=True):
        alone = score_alone(prompt, text)
        assert score.shape == alone.shape
        assert torch.allclose(score, alone, atol=2e-4)


def test_the_size_of_a_batch_changes_nothing() -> None:
    one, other = (score_all(TextScorer(EngineChoice(), batch_size=size), TEXTS) for size in (1, 2))
    assert all(torch.allclose(a, b, atol=2e-4) for a, b in zip(one, other, strict=True))


def test_a_text_that_is_too_long_gets_the_reason_and_the_others_their_scores() -> None:
    scorer = TextScorer(EngineChoice(), max_tokens=400)
    found = scorer.score((TEXTS[0], (SHORT, "A dog. " * 400), TEXTS[1]))
    assert isinstance(found[1], str)
    assert "the limit is 400" in found[1]
    for one, other in zip((found[0], found[2]), score_all(scorer, TEXTS[:2]), strict=True):
        assert torch.allclose(cast("torch.Tensor", one), other, atol=2e-4)


def test_critiques_without_a_score_or_an_image_are_left_out_with_the_reason(rows_file: Path) -> None:
    pairs = read_pairs(str(rows_file), limit=3).rows
    (rows_file.parent / "1.png").unlink()
    written = [
        Written(id=f"p{i}", first="A", text=text, probability=0.9, weight=1.0, with_evidence=False)
        for i, text in enumerate(("seen", "seen", "much"))
    ]

    class Limited(Scorer):
        """Cannot read a text that says `much`."""

        def score(self, texts: list[tuple[Prompt, str]]) -> list[Any]:
            return ["too long." if text == "much" else torch.zeros(1) for _, text in texts]

    config = CritiqueConfig(output=Path("unused"), pairs="unused")
    kept, skipped = drop_hint_dependent(cast("TextScorer", Limited()), written, pairs, config)
    assert [item.id for item in kept] == ["p0"]
    assert {row.id: row.reason for row in skipped}["p2"] == "too long."
    assert "'1.png' cannot be read" in {row.id: row.reason for row in skipped}["p1"]


def score_all(scorer: TextScorer, texts: Sequence[tuple[Prompt, str]]) -> list[torch.Tensor]:
    """Scores of texts that all can be read."""
    found = [each for each in scorer.score(texts) if not isinstance(each, str)]
    assert len(found) == len(texts)
    return found


class Scorer:
    """Finds every token likely, but for one of "owed" where no hint is in view."""

    def __init__(self) -> None:
        self.seen: list[Prompt] = []

    def score(self, texts: list[tuple[Prompt, str]]) -> list[torch.Tensor]:
        self.seen += [prompt for prompt, _ in texts]
        return [
            torch.tensor([-0.1, -2.5 if "owed" in text and "Hint" not in prompt.tail else -0.1, -0.1])
            for prompt, text in texts
        ]


@pytest.mark.parametrize(("limit", "left"), [(1.5, ["seen"]), (2.5, ["seen", "owed"])])
def test_what_only_the_hint_explains_is_dropped(rows_file: Path, limit: float, left: list[str]) -> None:
    pairs = read_pairs(str(rows_file), limit=2).rows
    written = [
        Written(id="p0", first="A", text="seen", probability=0.9, weight=1.0, with_evidence=False),
        Written(id="p1", first="B", text="owed", probability=0.9, weight=1.0, with_evidence=False),
    ]
    scorer = Scorer()
    config = CritiqueConfig(output=Path("unused"), pairs="unused", max_hint_dependence=limit)
    kept, skipped = drop_hint_dependent(cast("TextScorer", scorer), written, pairs, config)
    assert [item.text for item in kept] == left
    assert skipped == []
    guided, plain = scorer.seen[:2], scorer.seen[2:]
    assert all("Object detectors" in p.shared for p in (*guided, *plain))  # what evidence explains may stay
    assert all("Hint" in p.tail for p in guided)
    assert not any("Hint" in p.tail for p in plain)
    assert ["First" in p.tail.split("Hint")[1] for p in guided] == [True, False]  # the gold verdict in each order
