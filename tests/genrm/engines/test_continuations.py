"""Texts read behind shared prompts have the numbers of one plain pass over each prompt with its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from genrm.engines.continuations import ContinuationReader
from genrm.engines.contract import Prompt
from genrm.engines.loading import choose_placement, load_model
from genrm.engines.preparation import render_text
from genrm.errors import InputTooLongError, InvalidComparisonError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakePicture

TOLERANCE = 1e-4
TEXTS = ("a dog", "there are three cats and a bear", "no")


def load(folder: Path) -> ContinuationReader:
    return ContinuationReader(
        load_model(str(folder), placement=choose_placement(device="cpu", dtype="float32", attention="sdpa"))
    )


def prompts(make_picture: "MakePicture") -> list[Prompt]:
    one, two, three = make_picture(1), make_picture(2, 112, 84), make_picture(3, 56, 84)
    return [
        Prompt(system="", images=(one,), shared="What is there?", tail=""),
        Prompt(system="Look.", images=(two, three), shared="How many of them are there in all?", tail=" Say it."),
        Prompt(system="", images=(), shared="Which?", tail=""),
    ]


@pytest.mark.parametrize("name", ["random_folder", "random_25_folder"])
def test_every_text_has_the_numbers_of_a_plain_pass_of_its_own(
    name: str, request: pytest.FixtureRequest, make_picture: "MakePicture"
) -> None:
    """The reference is the model's own forward over prompt and text in one piece, processed by transformers."""
    folder: Path = request.getfixturevalue(name)
    asked = prompts(make_picture)
    found = load(folder).read([(prompt, TEXTS) for prompt in asked])

    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder).eval()
    for prompt, texts in zip(asked, found, strict=True):
        for text, read in zip(TEXTS, texts, strict=True):
            ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            pictures = [list(prompt.images)] if prompt.images else None
            inputs = processor(text=[render_text(processor, prompt) + text], images=pictures, return_tensors="pt")
            assert inputs["input_ids"][0, -len(ids) :].tolist() == ids
            model.model.rope_deltas = None
            with torch.inference_mode():
                logprobs = model(**inputs).logits[0, -len(ids) - 1 : -1].log_softmax(-1)
            own = logprobs[torch.arange(len(ids)), torch.tensor(ids)]
            assert torch.allclose(read.logprobs, own, atol=TOLERANCE)
            assert torch.allclose(read.entropies, -(logprobs.exp() * logprobs).sum(-1), atol=TOLERANCE)


def test_texts_are_read_alike_whatever_else_is_asked(random_folder: Path, make_picture: "MakePicture") -> None:
    reader, asked = load(random_folder), prompts(make_picture)
    together = reader.read([(prompt, TEXTS) for prompt in asked])
    [[alone]] = reader.read([(asked[1], TEXTS[1:2])])
    assert torch.allclose(alone.logprobs, together[1][1].logprobs, atol=TOLERANCE)
    assert reader.read([]) == []
    assert reader.read([(asked[0], ())]) == [[]]


def test_a_prompt_longer_than_the_context_is_refused_before_it_is_computed(
    random_folder: Path, make_picture: "MakePicture", monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, [prompt, *_] = load(random_folder), prompts(make_picture)
    monkeypatch.setattr(reader._forward, "extend", lambda _: pytest.fail("It was computed."))
    long = Prompt(system="", images=prompt.images, shared="dog " * (reader._max_context + 1), tail="")
    with pytest.raises(InputTooLongError, match="leaves no room"):
        reader.read([(long, ("a dog",))])


def test_what_cannot_be_read_is_refused(random_folder: Path, make_picture: "MakePicture") -> None:
    reader, [prompt, *_] = load(random_folder), prompts(make_picture)
    with pytest.raises(ValueError, match="must have a token"):
        reader.read([(prompt, ("",))])
    with pytest.raises(InputTooLongError, match="cannot be read"):
        reader.read([(prompt, ("dog " * 3000,))])
    processor: Any = AutoProcessor.from_pretrained(random_folder)
    placeholder = processor.tokenizer.decode([reader._model.config.image_token_id])
    with pytest.raises(InvalidComparisonError, match="image placeholders"):
        reader.read([(Prompt(system="", images=prompt.images, shared=placeholder, tail=""), ("a",))])
