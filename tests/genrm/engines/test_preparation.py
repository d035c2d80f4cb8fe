"""Prompts become token ids exactly as the processor makes them, and groups that share all they can."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from genrm.engines.contract import Prompt, Sampling
from genrm.engines.preparation import Group, Preparation, build_conversation, count_shared, render_text
from genrm.engines.rows import Call, Vocabulary
from genrm.errors import InputTooLongError, InvalidComparisonError, InvalidImageError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakePicture, MakePrompts

Prepare = Callable[..., list[Group]]


@pytest.fixture(scope="module")
def processor(random_folder: Path) -> Any:
    return AutoProcessor.from_pretrained(random_folder)


@pytest.fixture(scope="module")
def prepare(random_folder: Path, processor: Any) -> Prepare:
    """Prepares a call of some prompts; options are those of `Sampling` and the token budget."""
    model = AutoModelForImageTextToText.from_pretrained(random_folder)
    vocabulary = Vocabulary(tokenizer=processor.tokenizer, stop_ids=frozenset(), label_ids=(), spellings={})

    def run(prompts: list[Prompt], *, max_batch_tokens: int = 10_000, max_tokens: int = 100) -> list[Group]:
        preparation = Preparation(processor, model, max_batch_tokens=max_batch_tokens)
        return preparation.prepare(Call(prompts, Sampling(max_tokens=max_tokens)), vocabulary)

    return run


def test_ids_and_positions_are_those_of_the_processor_and_the_model(
    prepare: Prepare,
    processor: Any,
    make_prompts: "MakePrompts",
    make_picture: "MakePicture",
) -> None:
    images = [make_picture(1, 56, 84), make_picture(2, 112, 56)]
    prompts = make_prompts("Which?", "a dog", "there are three", images=images)
    [group] = prepare(prompts)
    for prompt in group.prompts:
        [index] = [row.index for row in prompt.rows]
        expected = processor(text=[render_text(processor, prompts[index])], images=[images])["input_ids"][0]
        assert prompt.ids == list(expected)
        assert prompt.positions.shape == (3, len(prompt.ids))
        assert [row.position for row in prompt.rows] == [int(prompt.positions[:, -1].max())]


def test_both_orders_share_everything_up_to_the_first_response(
    prepare: Prepare,
    processor: Any,
    make_prompts: "MakePrompts",
    make_picture: "MakePicture",
) -> None:
    [group] = prepare(make_prompts("What is it?", "a dog", "two", images=[make_picture(0)]))
    one, two = (prompt.ids for prompt in group.prompts)
    assert one[: group.num_shared] == two[: group.num_shared]
    assert processor.tokenizer.decode(one[: group.num_shared]).endswith("What is it?\nFirst response:")
    assert processor.tokenizer.decode(one[: group.num_head]).endswith("user\n<|vision_start|>")


def test_equal_prompts_are_kept_once(
    prepare: Prepare, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    prompts = make_prompts("What is it?", "a dog", "two", images=[make_picture(0)])
    [group] = prepare([*prompts, *prompts, *prompts])
    assert sorted([row.index for row in prompt.rows] for prompt in group.prompts) == [[0, 2, 4], [1, 3, 5]]


def test_the_order_of_the_prompts_does_not_change_the_order_of_computing(
    prepare: Prepare, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    prompts = make_prompts("What is it?", "a dog", "two", images=[make_picture(0)])
    [group], [mirrored] = prepare(prompts), prepare(prompts[::-1])
    assert [prompt.ids for prompt in group.prompts] == [prompt.ids for prompt in mirrored.prompts]


def test_a_prompt_alone_is_computed_in_one_piece_behind_its_head(
    prepare: Prepare, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    [group] = prepare(make_prompts("What is it?", "a dog", "two", images=[make_picture(0)])[:1])
    assert group.num_shared == group.num_head > 0


def test_prompts_with_different_images_or_questions_are_groups_of_their_own(
    prepare: Prepare, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    image = make_picture(0)
    prompts = [
        *make_prompts("What is it?", "a", "b", images=[image]),
        *make_prompts("What is it?", "a", "b", images=[make_picture(0)]),
        *make_prompts("How many?", "a", "b", images=[image]),
        *make_prompts("What is it?", "a", "b"),
    ]
    groups = prepare(prompts)
    assert [sorted(row.index for row in group.rows) for group in groups] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_prompt_without_images_has_no_pixels_and_no_head(prepare: Prepare, make_prompts: "MakePrompts") -> None:
    [group] = prepare(make_prompts("What is it?", "a dog", "two"))
    assert group.pixel_values is None
    assert group.num_head == 0 < group.num_shared


def test_without_a_system_text_there_is_no_system_turn() -> None:
    prompt = Prompt(system="", images=(), shared="a", tail="b")
    assert build_conversation(prompt) == [{"role": "user", "content": [{"type": "text", "text": "ab"}]}]


def test_images_stand_before_the_text(make_picture: "MakePicture") -> None:
    prompt = Prompt(system="s", images=(make_picture(0), make_picture(1)), shared="a", tail="b")
    assert [part["type"] for part in build_conversation(prompt)[1]["content"]] == ["image", "image", "text"]


def test_the_beginning_of_the_answer_follows_the_rendered_conversation(
    processor: Any,
) -> None:
    text = render_text(processor, Prompt(system="s", images=(), shared="a", tail="b", answer_prefix="Verdict:"))
    assert text.endswith("<|im_start|>assistant\nVerdict:")


def test_rows_beyond_the_token_budget_become_groups_of_their_own(prepare: Prepare, make_prompts: "MakePrompts") -> None:
    prompts = make_prompts("What is it?", "a", "b") * 5
    length = prepare(prompts)[0].rows[0].num_reserved_tokens
    groups = prepare(prompts, max_batch_tokens=3 * length)
    assert [len(group.rows) for group in groups] == [3, 3, 3, 1]
    assert sorted(row.index for group in groups for row in group.rows) == list(range(10))


def test_a_row_too_long_for_the_budget_is_a_group_alone(prepare: Prepare, make_prompts: "MakePrompts") -> None:
    groups = prepare(make_prompts("What is it?", "a", "b"), max_batch_tokens=1)
    assert [len(group.rows) for group in groups] == [1, 1]


def test_an_answer_may_use_only_what_the_context_leaves(prepare: Prepare, make_prompts: "MakePrompts") -> None:
    [group] = prepare(make_prompts("What is it?", "a", "b"), max_tokens=10**6)
    assert {row.num_reserved_tokens for row in group.rows} == {1024}


def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers(prepare: Prepare) -> None:
    with pytest.raises(InputTooLongError, match=r"The prompt is 2,\d\d\d tokens long.* context is 1,024 tokens"):
        prepare([Prompt(system="", images=(), shared="x " * 1100, tail="")])


def test_an_image_placeholder_in_a_text_is_refused(prepare: Prepare, make_picture: "MakePicture") -> None:
    prompt = Prompt(system="", images=(make_picture(0),), shared="", tail="see <|image_pad|>")
    with pytest.raises(InvalidComparisonError, match="2 image placeholders for 1 images"):
        prepare([prompt])


def test_an_image_that_the_processor_refuses_is_named_by_its_size(prepare: Prepare) -> None:
    prompt = Prompt(system="", images=(Image.new("RGB", (2, 900)),), shared="", tail="")
    with pytest.raises(InvalidImageError, match="2x900") as refusal:
        prepare([prompt])
    assert refusal.value.param == "images"


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5))
def test_shared_tokens_are_the_longest_common_beginning_that_leaves_each_row_one(rows: list[list[int]]) -> None:
    shared = count_shared(rows)
    longest = min(map(len, rows)) - 1
    assert 0 <= shared <= longest
    assert len({tuple(row[:shared]) for row in rows}) == 1
    assert shared == longest or len({row[shared] for row in rows}) > 1
