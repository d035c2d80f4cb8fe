"""One thread serves many calls: in order, within its budget, through cancellations and failures, until it is closed."""

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from genrm.engines.contract import Prompt, Sampling
from genrm.engines.in_process import InProcessEngine
from genrm.engines.progress import BatchEvent
from genrm.engines.worker import Worker
from genrm.errors import EngineClosedError, EngineError, ModelLoadError

if TYPE_CHECKING:
    from tests.genrm.engines.conftest import MakePrompts

LONG = Sampling(max_tokens=400)
SHORT = Sampling(max_tokens=5)
WAIT_SECONDS = 120
"""Far longer than anything here takes; a test that waits so long has failed."""


@pytest.fixture
def worker(random_engine: InProcessEngine) -> Worker:
    assert random_engine._worker
    return random_engine._worker


@pytest.fixture
def small_engine(random_folder: Path) -> Iterator[tuple[InProcessEngine, list[BatchEvent]]]:
    """An engine with room for about four short rows, and what it reports."""
    events: list[BatchEvent] = []
    engine = InProcessEngine(str(random_folder), device="cpu", max_batch_tokens=600, on_batch=events.append)
    asyncio.run(engine.start())
    yield engine, events
    asyncio.run(engine.close())


async def begin(engine: InProcessEngine, prompts: list[Prompt], sampling: Sampling = LONG) -> asyncio.Task[list[Any]]:
    """Start a call and wait until it is being written."""
    writing = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(_index: int, _text: str) -> None:
        loop.call_soon_threadsafe(writing.set)

    task = asyncio.create_task(engine.complete(prompts, sampling, on_text=note))
    await asyncio.wait_for(writing.wait(), WAIT_SECONDS)
    assert not task.done()
    return task


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - another thread makes it so
            await asyncio.sleep(0.005)


async def test_a_cancelled_call_leaves_the_batch_and_others_go_on(
    random_engine: InProcessEngine, make_prompts: "MakePrompts"
) -> None:
    expected = await random_engine.complete(make_prompts("How many?", "a", "b"), Sampling(max_tokens=30))
    num_completed = random_engine.stats().num_completed_rows
    doomed = await begin(random_engine, make_prompts("What?", "a", "b"))
    other = await begin(random_engine, make_prompts("How many?", "a", "b"), Sampling(max_tokens=30))
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert [one.text for one in await other] == [one.text for one in expected]
    await until(lambda: not random_engine.is_busy)
    assert random_engine.stats().num_running_rows == 0
    assert random_engine.stats().num_completed_rows == num_completed + 2, "the doomed rows were written to their end"


async def test_a_call_cancelled_while_it_waits_is_never_started(
    small_engine: tuple[InProcessEngine, list[BatchEvent]], make_prompts: "MakePrompts"
) -> None:
    engine, events = small_engine
    running = await begin(engine, make_prompts("What?", "a", "b"), Sampling(max_tokens=200))
    waiting = asyncio.create_task(engine.complete(make_prompts("Which?", "a", "b"), LONG))
    await until(lambda: engine.stats().num_waiting_rows == 2)
    waiting.cancel()
    await running
    await until(lambda: not engine.is_busy)
    assert [event.num_rows for event in events if event.stage == "prefill"] == [2]
    assert engine.stats().num_waiting_rows == 0


async def test_rows_that_run_together_stay_within_the_token_budget(
    small_engine: tuple[InProcessEngine, list[BatchEvent]], make_prompts: "MakePrompts"
) -> None:
    engine, events = small_engine
    calls = [engine.complete(make_prompts(f"Is it {number}?", "a", "b"), SHORT) for number in range(9)]
    completions = [completion for pair in await asyncio.gather(*calls) for completion in pair]
    longest = max(completion.prompt_tokens for completion in completions) + SHORT.max_tokens
    most_rows = max(event.num_rows for event in events)
    assert 2 <= most_rows <= 600 // (longest - 2)
    assert all(completion.completion_tokens <= 5 for completion in completions)


async def test_a_call_too_big_for_the_budget_is_run_in_parts(
    small_engine: tuple[InProcessEngine, list[BatchEvent]], random_engine: InProcessEngine, make_prompts: "MakePrompts"
) -> None:
    engine, events = small_engine
    prompts = make_prompts("What?", "a", "b") * 8
    sampling = Sampling(max_tokens=8, temperature=1.0, seed=1)
    texts = [completion.text for completion in await engine.complete(prompts, sampling)]
    assert max(event.num_rows for event in events) < 16
    assert texts == [completion.text for completion in await random_engine.complete(prompts, sampling)]


async def test_a_row_longer_than_the_budget_runs_alone(
    small_engine: tuple[InProcessEngine, list[BatchEvent]], make_prompts: "MakePrompts"
) -> None:
    engine, events = small_engine
    await engine.complete(make_prompts("What? " * 300, "a", "b"), SHORT)
    assert max(event.num_rows for event in events) == 1


async def test_newcomers_join_rows_that_are_being_decoded(
    random_engine: InProcessEngine, make_prompts: "MakePrompts"
) -> None:
    long = await begin(random_engine, make_prompts("What?", "a", "b"))
    await random_engine.complete(make_prompts("Which?", "a", "b"), SHORT)
    assert not long.done(), "the short call must not wait for the long one"
    long.cancel()


async def test_while_rows_run_calls_are_prepared_one_by_one_between_steps_and_each_is_progress(
    random_engine: InProcessEngine, worker: Worker, make_prompts: "MakePrompts", monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    stepping, released = threading.Event(), threading.Event()

    def note(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object) -> object:
            log.append(what)
            return real(*args)

        return call

    def hold(*args: Any) -> torch.Tensor:
        stepping.set()
        released.wait(WAIT_SECONDS)
        log.append("step")
        return decode(*args)

    decode = worker._forward.decode
    long = await begin(random_engine, make_prompts("What?", "a", "b"))
    with monkeypatch.context() as noted:
        noted.setattr(worker._forward, "decode", hold)
        noted.setattr(worker._preparation, "prepare", note("prepare", worker._preparation.prepare))
        noted.setattr(worker._progress, "mark", note("progress", worker._progress.mark))
        await asyncio.to_thread(stepping.wait, WAIT_SECONDS)  # so that all calls arrive within one step
        calls = [asyncio.create_task(random_engine.complete(make_prompts("Which?", "a", "b"), SHORT)) for _ in range(4)]
        await until(lambda: len(worker._arrivals) == 4)
        released.set()
        await asyncio.gather(*calls)
    long.cancel()
    assert log.count("prepare") == 4
    between_steps = " ".join(log).split("step")
    assert max(part.count("prepare") for part in between_steps) == 1
    assert all("prepare progress" in part for part in between_steps if "prepare" in part)


async def test_a_failing_step_fails_the_calls_that_run_and_no_later_one(
    random_engine: InProcessEngine,
    worker: Worker,
    make_prompts: "MakePrompts",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_args: object) -> torch.Tensor:
        raise RuntimeError("kernel at 0x7f00dead failed")

    prompts = make_prompts("What?", "a", "b")
    expected = await random_engine.complete(prompts, SHORT)
    failed_before = random_engine.stats().num_failed_batches
    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        running = await begin(random_engine, prompts)
        broken.setattr(worker._forward, "decode", fail)
        with pytest.raises(EngineError, match=r"failed while decoding\. Try again") as failure:
            await running
        await until(lambda: not random_engine.is_busy)
    assert "0x7f00dead" not in str(failure.value)
    assert "0x7f00dead" in caplog.text
    assert random_engine.stats().num_failed_batches == failed_before + 1
    assert [one.text for one in await random_engine.complete(prompts, SHORT)] == [one.text for one in expected]


async def test_a_failing_prompt_fails_the_newcomers_and_not_those_who_run(
    random_engine: InProcessEngine, worker: Worker, make_prompts: "MakePrompts", monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_groups: object) -> list[Any]:
        raise torch.OutOfMemoryError("tried to allocate 7 GiB")

    prompts = make_prompts("What?", "a", "b")
    sampling = Sampling(max_tokens=60)
    expected = await random_engine.complete(prompts, sampling)
    running = await begin(random_engine, prompts, sampling)
    with monkeypatch.context() as broken:
        broken.setattr(worker._prefill, "start", fail)
        with pytest.raises(EngineError, match=r"lower max_batch_tokens \(now 65,536\)") as failure:
            await random_engine.complete(make_prompts("Which?", "a", "b"))
    assert "7 GiB" not in str(failure.value)
    assert [one.text for one in await running] == [one.text for one in expected]


async def test_a_call_that_cannot_be_prepared_fails_alone(
    random_engine: InProcessEngine, worker: Worker, make_prompts: "MakePrompts", monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await begin(random_engine, make_prompts("What?", "a", "b"), Sampling(max_tokens=60))

    def fail(*_args: object) -> list[Any]:
        raise KeyError("pixel_values")

    with monkeypatch.context() as broken:
        broken.setattr(worker._preparation, "prepare", fail)
        with pytest.raises(EngineError, match="preparing the prompts"):
            await random_engine.complete(make_prompts("Which?", "a", "b"))
    assert len(await running) == 2


async def test_an_error_in_on_text_goes_to_its_own_caller_only(
    random_engine: InProcessEngine, make_prompts: "MakePrompts"
) -> None:
    def hang_up(_index: int, _text: str) -> None:
        raise ConnectionResetError("the client has gone")

    deaf, good = await asyncio.gather(
        random_engine.complete(make_prompts("What?", "a", "b"), on_text=hang_up),
        random_engine.complete(make_prompts("Which?", "a", "b"), SHORT),
        return_exceptions=True,
    )
    assert isinstance(deaf, ConnectionResetError)
    assert not isinstance(good, BaseException)


async def test_closing_finishes_what_runs_and_refuses_what_waits(
    random_folder: Path, make_prompts: "MakePrompts"
) -> None:
    engine = InProcessEngine(str(random_folder), device="cpu", max_batch_tokens=600)
    await engine.start()
    running = await begin(engine, make_prompts("What?", "a", "b"), Sampling(max_tokens=200))
    waiting = asyncio.create_task(engine.complete(make_prompts("Which?", "a", "b"), Sampling(max_tokens=200)))
    await until(lambda: engine.stats().num_waiting_rows == 2)
    closing = asyncio.create_task(engine.close())
    with pytest.raises(EngineClosedError):
        await waiting
    assert min(completion.completion_tokens for completion in await running) > 5
    await closing


async def test_the_observer_sees_prompts_and_steps_with_their_sizes(
    small_engine: tuple[InProcessEngine, list[BatchEvent]], make_prompts: "MakePrompts"
) -> None:
    engine, events = small_engine
    completions = await engine.complete(make_prompts("What?", "a", "b"), SHORT)
    await until(lambda: not engine.is_busy)
    prefill, *steps = events
    computed = sum(completion.prompt_tokens - completion.cached_tokens for completion in completions)
    assert (prefill.stage, prefill.num_rows, prefill.num_tokens) == ("prefill", 2, computed)
    assert {step.stage for step in steps} == {"decode"}
    longest = max(completion.completion_tokens for completion in completions)
    assert len(steps) == longest - 1, "the first token comes with the prompt"
    assert all(event.seconds > 0 for event in events)


async def test_the_counters_count_what_callers_were_told(
    small_engine: tuple[InProcessEngine, list[BatchEvent]], make_prompts: "MakePrompts"
) -> None:
    engine, _ = small_engine
    completions = await engine.complete(make_prompts("What?", "a", "b"), SHORT)
    stats = engine.stats()
    assert stats.num_completed_rows == 2, "the warm-up at the start does not count"
    assert stats.num_prompt_tokens == sum(completion.prompt_tokens for completion in completions)
    assert stats.num_cached_tokens == sum(completion.cached_tokens for completion in completions)
    assert stats.num_completion_tokens == sum(completion.completion_tokens for completion in completions)


async def test_an_idle_engine_does_not_stand_still_and_a_stuck_one_does(
    random_engine: InProcessEngine, worker: Worker, make_prompts: "MakePrompts", monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(lambda: not random_engine.is_busy)
    assert random_engine.seconds_since_progress() == 0
    released = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = worker._prefill.start

    def hang(groups: Any) -> Any:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
        return real(groups)

    with monkeypatch.context() as slow:
        slow.setattr(worker._prefill, "start", hang)
        task = asyncio.create_task(random_engine.complete(make_prompts("What?", "a", "b"), SHORT))
        await until(lambda: random_engine.seconds_since_progress() > 0.02)
        released.set()
        await task
    await until(lambda: not random_engine.is_busy)
    assert random_engine.seconds_since_progress() == 0


async def test_a_worker_whose_thread_ends_by_itself_says_so_and_leaves_nobody_waiting(
    small_engine: tuple[InProcessEngine, list[BatchEvent]],
    make_prompts: "MakePrompts",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, _ = small_engine
    assert engine._worker

    def fail() -> None:
        raise RuntimeError("a bug in the bookkeeping")

    monkeypatch.setattr(engine._worker, "_leave", fail)
    for _ in range(2):
        with pytest.raises(EngineClosedError):
            await engine.complete(make_prompts("What?", "a", "b"), SHORT)
    assert engine.has_died
    assert "a bug in the bookkeeping" in caplog.text


async def test_labels_that_the_tokenizer_cuts_are_found_out_at_the_start(
    random_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrm.engines.in_process._DEFAULT_SAMPLING", Sampling(labels=("Antediluvian", "Second")))
    engine = InProcessEngine(str(random_folder), device="cpu")
    with pytest.raises(ModelLoadError, match="'Antediluvian' is no single token"):
        await engine.start()
    assert engine.placement is None, "a model that cannot be used is let go of"


async def test_a_chat_template_without_images_is_found_out_at_the_start(random_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(random_folder, tmp_path / "judge")
    (folder / "chat_template.jinja").write_text("{{ messages[-1]['content'][-1]['text'] }}")
    engine = InProcessEngine(str(folder), device="cpu")
    with pytest.raises(ModelLoadError, match=r"cannot run a short prompt with an image.* 0 image placeholders for 1"):
        await engine.start()
    assert not engine.is_busy


async def test_a_missing_folder_is_found_out_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="There is no model folder"):
        await InProcessEngine(str(tmp_path / "judge")).start()


async def test_the_adapter_s_name_is_part_of_the_model_s(random_folder: Path) -> None:
    engine = InProcessEngine(str(random_folder), adapter="someone/critic-lora")
    assert engine.model == "random-judge+someone/critic-lora"
