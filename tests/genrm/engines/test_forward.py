"""Passes over many padded rows give what the model gives for each row alone, in one piece."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from genrm.engines.forward import Forward, Segment, find_positions
from genrm.engines.kv_cache import RunningRows
from genrm.engines.preparation import render_text
from genrm.errors import ModelLoadError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakePicture, MakePrompts

TOLERANCE = 1e-4
"""Nats; the logits of the random models spread over tens."""


class Reference:
    """Prompts of different lengths, with none, one or two images, and the model's own logits for them."""

    def __init__(self, folder: Path, prompts: list[Any], images: list[list[Any]]) -> None:
        processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.inputs = [
            processor(
                text=[render_text(processor, prompt)], images=[pictures] if pictures else None, return_tensors="pt"
            )
            for prompt, pictures in zip(prompts, images, strict=True)
        ]

    def ids(self, row: int) -> list[int]:
        ids: list[int] = self.inputs[row]["input_ids"][0].tolist()
        return ids

    def logits(self, row: int, more: list[int] | None = None) -> Tensor:
        """Logits of every position, (S, V), of the prompt and then some tokens."""
        inputs = dict(self.inputs[row])
        extra = torch.tensor([more or []], dtype=torch.long)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], extra], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(extra).to(kinds.dtype)], dim=1)
        self.model.model.rope_deltas = None
        logits: Tensor = self.model(**inputs).logits[0]
        return logits


@pytest.fixture(scope="module", params=["random_folder", "random_25_folder"])
def reference(request: pytest.FixtureRequest, make_prompts: "MakePrompts", make_picture: "MakePicture") -> Reference:
    images = [[make_picture(1)], [], [make_picture(2, 112, 84), make_picture(3, 56, 84)], [make_picture(4, 84, 84)]]
    questions = ["What?", "How many of them are there in all?", "Which one is it? " * 5, "Is it?"]
    prompts = [
        make_prompts(question, "a dog", "there are three cats", images=pictures)[0]
        for question, pictures in zip(questions, images, strict=True)
    ]
    return Reference(request.getfixturevalue(request.param), prompts, images)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def make_segments(forward: Forward, reference: Reference) -> list[Segment]:
    """All prompts, whole."""
    segments = []
    for row, inputs in enumerate(reference.inputs):
        ids, grids = reference.ids(row), inputs.get("image_grid_thw")
        features = None if grids is None else forward.encode_images([inputs["pixel_values"]], [grids])[0]
        segments.append(
            Segment(ids=ids, positions=find_positions(reference.model, ids, grids), image_features=features)
        )
    return segments


@pytest.mark.parametrize("max_tokens", [9, 100, 150, 10_000])
def test_prompts_together_give_the_logits_of_each_alone(reference: Reference, max_tokens: int) -> None:
    """Whether in many passes for one row, in passes of one row or a few, or all in one."""
    forward = Forward(reference.model, max_tokens=max_tokens)
    for row, extended in enumerate(forward.extend(make_segments(forward, reference))):
        assert extended.run.length == len(reference.ids(row))
        torch.testing.assert_close(extended.logits, reference.logits(row)[-1], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_prompt_in_two_pieces_gives_the_logits_of_the_whole(reference: Reference, share: float) -> None:
    """Wherever it is cut, an image's tokens included."""
    forward = Forward(reference.model, max_tokens=10_000)
    segments = make_segments(forward, reference)
    middles = [max(1, int(len(segment.ids) * share)) for segment in segments]
    begun = forward.extend(
        [forward.cut(segment, 0, middle, past=None) for segment, middle in zip(segments, middles, strict=True)]
    )
    ended = forward.extend(
        [
            forward.cut(segment, middle, len(segment.ids), past=begin.run)
            for segment, middle, begin in zip(segments, middles, begun, strict=True)
        ]
    )
    for row, extended in enumerate(ended):
        torch.testing.assert_close(extended.logits, reference.logits(row)[-1], atol=TOLERANCE, rtol=0)


def test_rows_that_join_at_different_times_decode_as_if_alone(reference: Reference) -> None:
    forward = Forward(reference.model, max_tokens=10_000)
    segments = make_segments(forward, reference)
    runs = [extended.run for extended in forward.extend(segments)]
    written: list[list[int]] = [[] for _ in segments]
    rows, order = RunningRows(forward.cache_shape), list[int]()
    for step in range(12):
        if step % 3 == 0:
            row = step // 3
            rows.join([runs[row]])
            order.append(row)
        for row in order:
            written[row].append((7 * step + row) % 300 + 10)
        positions = [int(segments[row].positions.max()) + len(written[row]) for row in order]
        logits = forward.decode([written[row][-1] for row in order], positions, rows)
        for place, row in enumerate(order):
            expected = reference.logits(row, written[row])[-1]
            torch.testing.assert_close(logits[place], expected, atol=TOLERANCE, rtol=0)


def test_a_very_long_left_padding_changes_nothing(reference: Reference) -> None:
    """Longer than the blocks of a flash-attention kernel, some of which are then masked completely."""
    forward = Forward(reference.model, max_tokens=10_000)
    segments = make_segments(forward, reference)[:2]
    ids = [11 + index % 300 for index in range(900)]
    long = Segment(ids=ids, positions=find_positions(reference.model, ids, None))
    first, second, long_run = (extended.run for extended in forward.extend([*segments, long]))
    rows = RunningRows(forward.cache_shape)
    rows.join([long_run, first, second])
    positions = [900, *(int(segment.positions.max()) + 1 for segment in segments)]
    logits = forward.decode([20, 21, 22], positions, rows)
    for row, token in ((0, 21), (1, 22)):
        expected = reference.logits(row, [token])[-1]
        torch.testing.assert_close(logits[row + 1], expected, atol=TOLERANCE, rtol=0)


def test_lots_of_images_are_encoded_as_each_alone(reference: Reference) -> None:
    lots = [inputs for inputs in reference.inputs if "pixel_values" in inputs]
    together = Forward(reference.model, max_tokens=10_000).encode_images(
        [inputs["pixel_values"] for inputs in lots], [inputs["image_grid_thw"] for inputs in lots]
    )
    for inputs, features in zip(lots, together, strict=True):
        [alone] = Forward(reference.model, max_tokens=1).encode_images(
            [inputs["pixel_values"]], [inputs["image_grid_thw"]]
        )
        torch.testing.assert_close(features, alone, atol=TOLERANCE, rtol=0)


def test_no_segments_and_no_images_need_no_pass(reference: Reference) -> None:
    forward = Forward(reference.model, max_tokens=100)
    assert forward.extend([]) == []
    assert forward.encode_images([], []) == []


def test_a_model_whose_layers_cache_different_shapes_is_refused(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OddCache:
        """A cache whose second layer has more heads."""

        def __init__(self) -> None:
            self.layers = [
                type("Layer", (), {"keys": torch.zeros(1, heads, 1, 4), "values": torch.zeros(1, heads, 1, 4)})
                for heads in (2, 4)
            ]

    monkeypatch.setattr("genrm.engines.forward.DynamicCache", OddCache)
    monkeypatch.setattr(reference.model.model.language_model, "forward", lambda **_: None)
    with pytest.raises(ModelLoadError, match="2 different shapes"):
        Forward(reference.model, max_tokens=100)
