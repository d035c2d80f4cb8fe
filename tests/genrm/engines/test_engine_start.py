"""Starting loads a model once, and whatever ends it early leaves nothing behind."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from genrm.engines.in_process import InProcessEngine
from genrm.engines.loading import load_model
from genrm.errors import ModelLoadError


def count_engine_threads() -> int:
    return sum(thread.name == "genrm-engine" for thread in threading.enumerate())


async def test_two_starts_at_once_load_the_model_once(random_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def note(name: str, **options: Any) -> Any:
        loads.append(name)
        return load_model(name, **options)

    monkeypatch.setattr("genrm.engines.in_process.load_model", note)
    num_threads = count_engine_threads()
    engine = InProcessEngine(str(random_folder), device="cpu")
    await asyncio.gather(engine.start(), engine.start())
    assert len(loads) == 1
    assert count_engine_threads() == num_threads + 1
    await engine.close()
    assert count_engine_threads() == num_threads


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("7 GiB"), RuntimeError("kernel 0x7f"), MemoryError()])
async def test_what_torch_raises_at_the_start_is_a_load_error_with_a_remedy(
    random_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise failure

    monkeypatch.setattr("genrm.engines.in_process.Forward", fail)
    engine = InProcessEngine(str(random_folder), device="cpu")
    with pytest.raises(ModelLoadError, match=r"cannot be started \(\w+\).*use a smaller model") as caught:
        await engine.start()
    assert str(failure) == "" or str(failure) not in str(caught.value)
    assert str(failure) in caplog.text
    assert engine.placement is None


async def test_a_start_that_is_cancelled_while_it_warms_up_leaves_no_worker(
    random_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warming = asyncio.Event()

    async def hang(_engine: InProcessEngine) -> None:
        warming.set()
        await asyncio.Event().wait()

    num_threads = count_engine_threads()
    engine = InProcessEngine(str(random_folder), device="cpu")
    with monkeypatch.context() as slow:
        slow.setattr(InProcessEngine, "_warm_up", hang)
        start = asyncio.create_task(engine.start())
        await warming.wait()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    assert (engine.placement, count_engine_threads()) == (None, num_threads)
    await engine.start()
    assert engine.placement is not None
    await engine.close()
