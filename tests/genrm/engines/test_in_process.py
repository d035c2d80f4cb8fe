"""What the engine writes is what the model writes, whoever else is being served."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from genrm.engines.contract import Completion, Engine, Prompt, Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.engines.preparation import render_text
from genrm.errors import EngineClosedError, InputTooLongError, InvalidComparisonError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakePicture, MakePrompts

Lessons = dict[tuple[str, str, str], str]


@pytest.fixture(params=["random", "random_25"])
def architecture(request: pytest.FixtureRequest) -> tuple[InProcessEngine, Path]:
    """An engine for each supported architecture, and the folder of its model."""
    return request.getfixturevalue(f"{request.param}_engine"), request.getfixturevalue(f"{request.param}_folder")


def generate(folder: Path, prompts: Sequence[Prompt], *, max_tokens: int) -> list[str]:
    """What transformers' own `generate` writes for each prompt alone, greedily."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    texts = []
    for prompt in prompts:
        inputs = processor(
            text=[render_text(processor, prompt)], images=list(prompt.images) or None, return_tensors="pt"
        )
        ids = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        texts.append(processor.tokenizer.decode(ids, skip_special_tokens=True))
    return texts


def compute_label_logprobs(folder: Path, prompt: Prompt, text: str) -> list[float]:
    """Label log-probabilities after prompt and text, from one plain forward pass of the whole model."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    inputs = processor(
        text=[render_text(processor, prompt) + text], images=list(prompt.images) or None, return_tensors="pt"
    )
    with torch.inference_mode():
        logprobs = torch.log_softmax(model(**inputs).logits[0, -1].float(), dim=-1)
    labels = [processor.tokenizer(f" {label}")["input_ids"] for label in ("First", "Second")]
    return [float(logprobs[token]) for [token] in labels]


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


def test_the_engine_keeps_the_contract(random_engine: InProcessEngine) -> None:
    engine: Engine = random_engine
    assert engine.has_logprobs
    assert engine.model == "random-judge"


async def test_greedy_text_is_that_of_generate(
    architecture: tuple[InProcessEngine, Path], make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    engine, folder = architecture
    prompts = [
        *make_prompts("What is it?", "a dog", "a cat, or two", images=[make_picture(1)]),
        *make_prompts("Which?", "this", "that", images=[make_picture(2, 112, 56), make_picture(3, 84, 84)]),
        *make_prompts("No image?", "none", "not one"),
    ]
    completions = await engine.complete(prompts, Sampling(max_tokens=20))
    assert texts(completions) == generate(folder, prompts, max_tokens=20)


async def test_a_taught_critique_is_written_to_its_end(
    taught_engine: InProcessEngine, lessons: Lessons, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    for lesson, text in lessons.items():
        [completion, _] = await taught_engine.complete(make_prompts(*lesson, images=[make_picture(0)]))
        assert (completion.text, completion.finish_reason) == (text, "stop")


async def test_label_probabilities_are_those_of_a_plain_forward_pass_at_the_last_verdict(
    taught_engine: InProcessEngine,
    taught_folder: Path,
    lessons: Lessons,
    make_prompts: "MakePrompts",
    make_picture: "MakePicture",
) -> None:
    for lesson in lessons:
        prompts = make_prompts(*lesson, images=[make_picture(0)])
        for prompt, completion in zip(prompts, await taught_engine.complete(prompts), strict=True):
            before = completion.text.rpartition("Verdict:")[0] + "Verdict:"
            expected = compute_label_logprobs(taught_folder, prompt, before)
            assert completion.label_logprobs == pytest.approx(expected, abs=1e-4)


async def test_fast_mode_gives_the_label_probabilities_of_a_plain_forward_pass(
    architecture: tuple[InProcessEngine, Path], make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    engine, folder = architecture
    prompts = make_prompts("What?", "a dog", "a cat", images=[make_picture(1)], answer_prefix="Verdict:")
    for prompt, completion in zip(prompts, await engine.complete(prompts), strict=True):
        expected = compute_label_logprobs(folder, prompt, "")
        assert completion.label_logprobs == pytest.approx(expected, abs=1e-4)
        assert completion.text == (" First" if expected[0] > expected[1] else " Second")
        assert (completion.finish_reason, completion.completion_tokens) == ("stop", 1)


async def test_results_alone_and_among_others_are_the_same(
    random_engine: InProcessEngine, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    """32 calls of mixed kinds and lengths; the second half joins while the first is being decoded."""
    calls: list[tuple[list[Prompt], Sampling]] = []
    for number in range(32):
        images = [make_picture(number + extra, 56 + 28 * (number % 3), 56) for extra in range(number % 4)]
        prefix = "Verdict:" if number % 4 == 1 else ""
        prompts = make_prompts(
            "Is it? " * (number % 7 + 1), "yes " * (number % 5), "no", images=images, answer_prefix=prefix
        )
        calls.append((prompts, Sampling(max_tokens=60 if number < 2 else 3 + number % 20)))
    alone = [await random_engine.complete(*call) for call in calls]

    writing = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(_index: int, _text: str) -> None:
        loop.call_soon_threadsafe(writing.set)

    first = asyncio.create_task(random_engine.complete(*calls[0], on_text=note))
    tasks = [first, *(asyncio.create_task(random_engine.complete(*call)) for call in calls[1:16])]
    await writing.wait()
    assert not first.done()
    tasks += [asyncio.create_task(random_engine.complete(*call)) for call in calls[16:]]
    together = await asyncio.gather(*tasks)

    for one, other in zip(alone, together, strict=True):
        assert texts(one) == texts(other)
        for completion, same in zip(one, other, strict=True):
            assert completion.finish_reason == same.finish_reason
            assert (completion.label_logprobs or ()) == pytest.approx(same.label_logprobs or (), abs=1e-3)
    assert sum(completion.label_logprobs is not None for one in alone for completion in one) >= 16


async def test_verdict_probabilities_do_not_depend_on_the_batch(
    taught_engine: InProcessEngine, lessons: Lessons, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    prompts = [make_prompts(*lesson, images=[make_picture(0)]) for lesson in lessons]
    alone = [await taught_engine.complete(pair) for pair in prompts]
    together = await asyncio.gather(*(taught_engine.complete(pair) for _ in range(8) for pair in prompts))
    for number, other in enumerate(together):
        for completion, same in zip(alone[number % len(prompts)], other, strict=True):
            assert completion.text == same.text
            assert completion.label_logprobs == pytest.approx(same.label_logprobs, abs=1e-3)


async def test_prompts_of_one_call_need_not_share_anything(
    random_engine: InProcessEngine, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    prompts = [
        make_prompts("What?", "a", "b", images=[make_picture(1)])[0],
        Prompt(system="", images=(), shared="", tail="Hello"),
        Prompt(system="Another system.", images=(make_picture(2),), shared="x", tail="y", answer_prefix="It"),
    ]
    alone = [texts(await random_engine.complete([prompt], Sampling(max_tokens=10)))[0] for prompt in prompts]
    assert texts(await random_engine.complete(prompts, Sampling(max_tokens=10))) == alone


async def test_the_beginning_of_an_answer_is_continued_and_not_repeated(
    taught_engine: InProcessEngine, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    prompt = make_prompts("What is it?", "a cat", "a dog", images=[make_picture(0)], answer_prefix="It is a")[0]
    [completion] = await taught_engine.complete([prompt])
    assert completion.text == " cat.\nVerdict: First"


async def test_plain_generation_reports_no_labels(
    taught_engine: InProcessEngine, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    prompts = make_prompts(
        "What is it?", "a cat", "a dog", images=[make_picture(0)], answer_prefix="It is a cat.\nVerdict:"
    )
    [completion, _] = await taught_engine.complete(prompts, Sampling(labels=()))
    assert (completion.text, completion.label_logprobs) == (" First", None)
    assert completion.completion_tokens == 2


async def test_other_labels_than_the_usual_ones_can_be_asked_for(
    taught_engine: InProcessEngine, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    prompts = make_prompts("What is it?", "a cat", "a dog", images=[make_picture(0)])
    usual = (await taught_engine.complete(prompts))[0].label_logprobs
    [turned, _] = await taught_engine.complete(prompts, Sampling(labels=("Second", "First")))
    assert usual is not None
    assert turned.label_logprobs == pytest.approx(usual[::-1])


async def test_the_same_seed_gives_the_same_texts_whoever_else_is_served(
    random_engine: InProcessEngine, make_prompts: "MakePrompts"
) -> None:
    prompts = make_prompts("What?", "a", "b") * 2
    sampling = Sampling(temperature=1.0, top_p=0.95, seed=5, max_tokens=12)
    alone = texts(await random_engine.complete(prompts, sampling))
    others = [make_prompts("How many? " * number, "a", "b") for number in range(1, 8)]
    together, *_ = await asyncio.gather(
        random_engine.complete(prompts, sampling),
        *(random_engine.complete(other, Sampling(temperature=2.0, max_tokens=9)) for other in others),
    )
    assert texts(together) == alone
    assert alone[0] != alone[2], "samples of one prompt have numbers of their own"
    other_seed = Sampling(temperature=1.0, top_p=0.95, seed=6, max_tokens=12)
    assert texts(await random_engine.complete(prompts, other_seed)) != alone


async def test_temperature_does_not_change_label_probabilities(
    random_engine: InProcessEngine, make_prompts: "MakePrompts"
) -> None:
    prompts = make_prompts("What?", "a", "b", answer_prefix="Verdict:")
    cold = await random_engine.complete(prompts)
    hot = await random_engine.complete(prompts, Sampling(temperature=5.0, seed=1))
    assert [completion.label_logprobs for completion in cold] == [completion.label_logprobs for completion in hot]


async def test_streamed_pieces_are_the_texts(
    random_engine: InProcessEngine, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    written: dict[int, list[str]] = {0: [], 1: []}
    completions = await random_engine.complete(
        make_prompts("What?", "a", "b", images=[make_picture(0)]),
        Sampling(max_tokens=40),
        on_text=lambda index, text: written[index].append(text),
    )
    assert ["".join(written[index]) for index in (0, 1)] == texts(completions)
    assert min(map(len, written.values())) > 3


async def test_the_usage_says_what_was_computed_and_what_was_not(
    random_engine: InProcessEngine, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    """Four rows, two distinct: one pays for all but the head, one for its own end, the samples for nothing."""
    other = make_prompts("Whose is it?", "a dog", "two", images=[make_picture(31)])
    await random_engine.complete(other, Sampling(max_tokens=1))
    prompts = make_prompts("Whose is it?", "a dog", "two", images=[make_picture(32)])
    completions = await random_engine.complete(prompts * 2, Sampling(max_tokens=1))
    cached = sorted(completion.cached_tokens for completion in completions[:2])
    for sample, first in zip(completions[2:], completions[:2], strict=True):
        assert sample.cached_tokens == sample.prompt_tokens == first.prompt_tokens
    assert 20 < cached[0] < cached[1] < min(completion.prompt_tokens for completion in completions)


async def test_a_request_reuses_the_system_text_of_the_one_before(
    random_folder: Path, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    engine = InProcessEngine(str(random_folder), device="cpu")
    await engine.start()
    prompt = make_prompts("What is it?", "a dog", "two", images=[make_picture(0)])[0]
    first = (await engine.complete([prompt], Sampling(max_tokens=4)))[0]
    second = (await engine.complete([prompt], Sampling(max_tokens=4)))[0]
    await engine.close()
    assert first.cached_tokens == 0 < second.cached_tokens
    assert first.text == second.text


async def test_times_are_told_apart(random_engine: InProcessEngine, make_prompts: "MakePrompts") -> None:
    [completion, _] = await random_engine.complete(make_prompts("What?", "a", "b"), Sampling(max_tokens=3))
    assert completion.queue_seconds > 0
    assert completion.engine_seconds > 0


async def test_no_prompts_give_no_completions(random_engine: InProcessEngine) -> None:
    assert await random_engine.complete([]) == []


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(temperature=-0.1), "temperature"),
        (Sampling(temperature=float("nan")), "temperature"),
        (Sampling(temperature=float("inf")), "temperature"),
        (Sampling(top_p=0), "top_p"),
        (Sampling(top_p=1.01), "top_p"),
        (Sampling(max_tokens=0), "max_tokens"),
        (Sampling(marker=""), "marker"),
        (Sampling(labels=("First", "Antediluvian")), "labels"),
    ],
)
async def test_an_option_out_of_range_is_refused_by_name(
    random_engine: InProcessEngine, make_prompts: "MakePrompts", sampling: Sampling, param: str
) -> None:
    with pytest.raises(InvalidComparisonError) as refusal:
        await random_engine.complete(make_prompts("What?", "a", "b"), sampling)
    assert refusal.value.param == param


async def test_a_prompt_too_long_for_the_model_fails_alone(
    random_engine: InProcessEngine, make_prompts: "MakePrompts"
) -> None:
    good, bad = await asyncio.gather(
        random_engine.complete(make_prompts("What?", "a", "b"), Sampling(max_tokens=5)),
        random_engine.complete(make_prompts("What? " * 500, "a", "b")),
        return_exceptions=True,
    )
    assert isinstance(bad, InputTooLongError)
    assert not isinstance(good, BaseException)


async def test_in_bfloat16_and_with_eager_attention_the_engine_runs_as_well(
    taught_folder: Path, lessons: Lessons, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    """The taught texts are sure enough to survive the coarser numbers."""
    for dtype, attention in (("float32", "eager"), ("bfloat16", "sdpa")):
        engine = InProcessEngine(str(taught_folder), device="cpu", dtype=dtype, attention=attention)
        await engine.start()
        prompts = [make_prompts(*lesson, images=[make_picture(0)])[0] for lesson in lessons]
        completions = await asyncio.gather(*(engine.complete([prompt]) for prompt in prompts))
        await engine.close()
        assert [completion.text for [completion] in completions] == list(lessons.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
async def test_on_a_gpu_the_engine_writes_what_it_writes_on_the_cpu(
    taught_folder: Path, lessons: Lessons, make_prompts: "MakePrompts", make_picture: "MakePicture"
) -> None:
    for dtype in ("auto", "float32"):
        engine = InProcessEngine(str(taught_folder), device="cuda", dtype=dtype)
        await engine.start()
        prompts = [make_prompts(*lesson, images=[make_picture(0)])[0] for lesson in lessons]
        completions = await asyncio.gather(*(engine.complete([prompt]) for prompt in prompts * 3))
        await engine.close()
        assert [completion.text for [completion] in completions] == list(lessons.values()) * 3


async def test_an_engine_that_was_not_started_or_is_closed_refuses(
    random_folder: Path, make_prompts: "MakePrompts"
) -> None:
    engine = InProcessEngine(str(random_folder), device="cpu")
    with pytest.raises(EngineClosedError, match="start"):
        await engine.complete(make_prompts("What?", "a", "b"))
    before = engine.placement
    await engine.start()
    after = engine.placement
    await engine.start()
    await engine.close()
    await engine.close()
    assert (before, after and after.device.type, engine.placement) == (None, "cpu", None)
    with pytest.raises(EngineClosedError):
        await engine.complete(make_prompts("What?", "a", "b"))


def test_a_token_budget_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_batch_tokens is 0"):
        InProcessEngine("judge", max_batch_tokens=0)
