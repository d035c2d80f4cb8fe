"""Batches through OpenAI's own client: files in, verdicts out, errors line by line."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import openai
import pytest

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine

if TYPE_CHECKING:
    from tests.service.batches.conftest import MakeLine, ServeBatches


class CountingEngine(FakeEngine):
    """The fake engine; it counts its prompts, and waits at a gate if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.num_prompts = 0
        self.gate = threading.Event()
        self.gate.set()

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the fake engine."""
        import asyncio

        self.num_prompts += len(prompts)
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        return await super().complete(prompts, sampling, on_text=on_text)


def test_each_line_of_a_file_becomes_a_verdict(serve_batches: ServeBatches, make_line: MakeLine) -> None:
    names = [f"row-{i}" for i in range(25)]
    engine = CountingEngine()
    with serve_batches(engine) as caller:
        batch = caller.start([make_line(name, question=f"Is it {name}?") for name in names])
        assert batch.status in ("validating", "in_progress")
        ended = caller.wait(batch)
        results = caller.read(ended.output_file_id)
    assert ended.status == "completed"
    assert ended.error_file_id is None
    assert ended.request_counts is not None
    assert (ended.request_counts.total, ended.request_counts.completed, ended.request_counts.failed) == (25, 25, 0)
    assert [result["custom_id"] for result in results] == names
    assert len({result["id"] for result in results}) == 25
    assert all(result["response"]["status_code"] == 200 and result["error"] is None for result in results)
    assert all(result["response"]["body"]["object"] == "verdict" for result in results)
    assert engine.num_prompts == 2 * 25
