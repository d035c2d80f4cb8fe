"""The fake engine answers the same input in the same way, and every behaviour it can be given shows."""

import asyncio
import math

import pytest
from PIL import Image

from genrm.engines.contract import Completion, Engine, Prompt, Sampling
from genrm.engines.fake import TOKENS_PER_IMAGE, FakeEngine
from genrm.errors import EngineClosedError, EngineError
from genrm.parsing import parse_verdict
from genrm.prompts import MARKER

IMAGE = Image.new("RGB", (8, 8), "navy")


def build_prompt(first: str = "A dog.", second: str = "A cat.", *, prefix: str = "", colour: str = "navy") -> Prompt:
    return Prompt(
        system="Judge.",
        images=(Image.new("RGB", (8, 8), colour),),
        shared="Question: What is it?\n",
        tail=f"First response: {first}\nSecond response: {second}",
        answer_prefix=prefix,
    )


async def complete_one(engine: Engine, prompt: Prompt, **sampling: float) -> Completion:
    return (await engine.complete([prompt], Sampling(**sampling)))[0]  # type: ignore[arg-type]  # floats stand for ints


async def test_the_same_prompt_is_answered_the_same_by_any_instance() -> None:
    prompts = [build_prompt(), build_prompt("One.", "Two.")]
    assert await FakeEngine().complete(prompts, Sampling()) == await FakeEngine().complete(prompts, Sampling())


@pytest.mark.parametrize(
    "changed", [build_prompt("A wolf."), build_prompt(second="A fox."), build_prompt(colour="red")]
)
async def test_every_part_of_the_input_moves_the_probabilities(changed: Prompt) -> None:
    engine = FakeEngine()
    before, after = (await complete_one(engine, build_prompt())), (await complete_one(engine, changed))
    assert before.label_logprobs != after.label_logprobs


async def test_exchanging_the_responses_exchanges_the_label_probabilities() -> None:
    engine = FakeEngine()
    one = await complete_one(engine, build_prompt("A dog.", "A cat."))
    two = await complete_one(engine, build_prompt("A cat.", "A dog."))
    assert one.label_logprobs is not None
    assert two.label_logprobs == pytest.approx(one.label_logprobs[::-1])


async def test_the_greedy_label_is_the_likelier_one_and_label_mass_is_as_configured() -> None:
    completion = await complete_one(FakeEngine(label_mass=0.7), build_prompt())
    assert completion.label_logprobs is not None
    first, second = completion.label_logprobs
    assert parse_verdict(completion.text).label == ("First" if first > second else "Second")
    assert math.exp(first) + math.exp(second) == pytest.approx(0.7)


@pytest.mark.parametrize(("verdict", "label"), [("first", "First"), ("second", "Second")])
async def test_a_fixed_preference_holds_for_any_content(verdict: str, label: str) -> None:
    engine = FakeEngine(verdict=verdict)  # type: ignore[arg-type]  # parametrize gives a plain string
    for prompt in (build_prompt(), build_prompt("A cat.", "A dog."), build_prompt(prefix=MARKER)):
        completion = await complete_one(engine, prompt)
        assert parse_verdict(prompt.answer_prefix + completion.text).label == label


@pytest.mark.parametrize("prefix", ["", MARKER])
async def test_no_verdict_can_be_asked_for(prefix: str) -> None:
    completion = await complete_one(FakeEngine(verdict="none"), build_prompt(prefix=prefix))
    assert completion.label_logprobs is None
    assert parse_verdict(prefix + completion.text).label is None


async def test_position_bias_favours_the_first_response_in_both_orders() -> None:
    engine = FakeEngine(position_bias=100.0)
    texts = [(await complete_one(engine, build_prompt(*pair))).text for pair in (("a", "b"), ("b", "a"))]
    assert all(text.endswith("First") for text in texts)


async def test_without_logprobs_only_the_text_is_given() -> None:
    completion = await complete_one(FakeEngine(has_logprobs=False), build_prompt())
    assert completion.label_logprobs is None
    assert parse_verdict(completion.text).label is not None


async def test_sampled_verdicts_vary_between_rows_and_repeat_with_the_seed() -> None:
    engine = FakeEngine(has_logprobs=False)
    prompts = [build_prompt("x", "y")] * 40
    texts = [c.text for c in await engine.complete(prompts, Sampling(temperature=1.0, seed=3))]
    assert len(set(texts)) == 2
    assert texts == [c.text for c in await engine.complete(prompts, Sampling(temperature=1.0, seed=3))]
    assert texts != [c.text for c in await engine.complete(prompts, Sampling(temperature=1.0, seed=4))]


async def test_fast_mode_answers_with_the_label_alone() -> None:
    completion = await complete_one(FakeEngine(), build_prompt(prefix=MARKER), max_tokens=1)
    assert completion.text in (" First", " Second")
    assert completion.label_logprobs is not None
    assert (completion.finish_reason, completion.completion_tokens) == ("stop", 1)


async def test_a_token_limit_cuts_the_text_before_the_verdict() -> None:
    completion = await complete_one(FakeEngine(), build_prompt(), max_tokens=3)
    assert completion.text == "The picture was"
    assert completion.label_logprobs is None
    assert (completion.finish_reason, completion.completion_tokens) == ("length", 3)


async def test_plain_generation_has_neither_verdict_nor_label_probabilities() -> None:
    completion = (await FakeEngine().complete([build_prompt()], Sampling(labels=())))[0]
    assert completion.label_logprobs is None
    assert MARKER not in completion.text


async def test_the_prefix_shared_with_the_first_prompt_counts_as_cached() -> None:
    image = build_prompt().images
    one, two = (
        Prompt(system="Judge it.", images=image, shared="Question: what?\n", tail=tail) for tail in ("a b c", "d e")
    )
    completions = await FakeEngine().complete([one, two, build_prompt()], Sampling())
    assert [c.cached_tokens for c in completions] == [0, TOKENS_PER_IMAGE + 4, 0]
    assert [c.prompt_tokens for c in completions[:2]] == [TOKENS_PER_IMAGE + 7, TOKENS_PER_IMAGE + 6]


async def test_streamed_pieces_add_up_to_the_texts() -> None:
    pieces: dict[int, str] = {}

    def collect(row: int, text: str) -> None:
        pieces[row] = pieces.get(row, "") + text

    prompts = [build_prompt(), build_prompt(prefix=MARKER)]
    completions = await FakeEngine(delay_seconds=0.01).complete(prompts, Sampling(), on_text=collect)
    assert [pieces[0], pieces[1]] == [c.text for c in completions]


async def test_a_configured_failure_is_raised_and_counted() -> None:
    engine = FakeEngine(failure=EngineError("The card fell off the bus."))
    with pytest.raises(EngineError, match="fell off"):
        await engine.complete([build_prompt()], Sampling())
    assert engine.num_calls == 1


async def test_a_delayed_call_can_be_cancelled() -> None:
    task = asyncio.create_task(FakeEngine(delay_seconds=3600).complete([build_prompt()], Sampling()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_closed_engine_refuses_calls() -> None:
    engine: Engine = FakeEngine(model="dry-run")
    assert engine.model == "dry-run"
    await engine.start()
    await engine.close()
    with pytest.raises(EngineClosedError):
        await engine.complete([build_prompt()], Sampling())
