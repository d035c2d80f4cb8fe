"""A running vLLM: real log-probabilities over HTTP. Skips unless the environment says where it is.

Run: `vllm serve MODEL --port 8001`, then
`VL_GENRM_TEST_VLLM_URL=http://127.0.0.1:8001/v1 python -m pytest -m vllm tests/genrm/engines/test_vllm_server.py`.
"""

import os
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from genrm.engines.openai_server import OpenAIEngine
from genrm.judge import Judge, JudgeOptions, VerdictRules
from genrm.types import Comparison, Mode

URL = os.environ.get("VL_GENRM_TEST_VLLM_URL", "")
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not URL, reason="VL_GENRM_TEST_VLLM_URL does not say where a vLLM server is"),
]
PAIR = Comparison(
    images=(Image.new("RGB", (168, 168), "white"),),
    question="How many dogs are there?",
    response_a="There are no dogs.",
    response_b="There are three dogs.",
)


@pytest.fixture
async def engine() -> AsyncIterator[OpenAIEngine]:
    """An engine on the server's only model."""
    engine = OpenAIEngine(URL)
    await engine.start()
    yield engine
    await engine.close()


async def test_it_gives_log_probabilities(engine: OpenAIEngine) -> None:
    assert engine.has_logprobs


@pytest.mark.parametrize("mode", ["critique", "fast"])
async def test_swapped_pair_gives_mirrored_verdict(engine: OpenAIEngine, mode: Mode) -> None:
    judge = Judge(engine, rules=VerdictRules(min_label_mass=0))
    options = JudgeOptions(mode=mode)
    straight, swapped = [await judge.judge(pair, options) for pair in (PAIR, PAIR.swap())]
    assert straight.probability_source == "logprobs"
    assert straight.probabilities is not None
    assert swapped.probabilities is not None
    difference = straight.probabilities.A - swapped.probabilities.B
    assert abs(difference) < 0.01  # its numbers move a little with what else is in the batch
    assert straight.usage.prompt_tokens > straight.usage.completion_tokens


async def test_critiques_are_streamed(engine: OpenAIEngine) -> None:
    pieces: list[str] = []
    verdict = await Judge(engine).judge(PAIR, on_text=lambda _, text: pieces.append(text))
    assert len(pieces) > 2
    assert verdict.readings
