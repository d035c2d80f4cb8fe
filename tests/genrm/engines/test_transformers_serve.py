"""A real `transformers serve` on loopback: no log-probabilities, no continued answers, so its verdicts are votes.

Needs the packages `openai` and `accelerate` beside this project's own dependencies (the extra
`transformers[serving]`).
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from PIL import Image

from genrm.engines.contract import Prompt, Sampling
from genrm.engines.openai_server import OpenAIEngine
from genrm.errors import ModelLoadError
from genrm.judge import DEFAULT_NUM_VOTES, Judge, JudgeOptions
from genrm.shipped import judge_folder
from genrm.types import Comparison, Mode, Response

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("openai") is None or find_spec("accelerate") is None,
        reason="`transformers serve` needs the packages openai and accelerate",
    ),
]
START_SECONDS = 300


class MakePrompts(Protocol):
    """The two orders of one comparison, as the fixture of that name builds them."""

    def __call__(self, question: str, first: str, second: str, *, images: list[Image.Image]) -> list[Prompt]: ...


class MakePicture(Protocol):
    """A picture of noise, as the fixture of that name draws it."""

    def __call__(self, seed: int) -> Image.Image: ...


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serve(folder: Path, log: Path) -> Iterator[str]:
    """Run `transformers serve` for a model folder; gives its address once it answers."""
    port = find_free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"NO_PROXY": "*"})
        try:
            deadline = time.monotonic() + START_SECONDS
            while not is_up(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


def is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached directly, whatever the shell says."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def taught_server(taught_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and model name of a server that runs a tiny model which knows a few judgements by heart."""
    with serve(taught_folder, tmp_path_factory.mktemp("serve") / "log") as url:
        yield url, str(taught_folder)


async def test_its_answers_are_the_model_s_and_come_without_log_probabilities(
    taught_server: tuple[str, str],
    make_prompts: MakePrompts,
    make_picture: MakePicture,
    lessons: dict[tuple[str, str, str], str],
) -> None:
    engine = OpenAIEngine(*taught_server)
    await engine.start()
    assert engine.has_logprobs is False
    lesson = ("What is it?", "a dog", "a cat")
    prompts = make_prompts(*lesson, images=[make_picture(0)])
    streamed: dict[int, str] = {0: "", 1: ""}

    def collect(row: int, text: str) -> None:
        streamed[row] += text

    whole = await engine.complete(prompts, Sampling(max_tokens=64))
    pieces = await engine.complete(prompts, Sampling(max_tokens=64), on_text=collect)
    await engine.close()
    assert whole[0].text == lessons[lesson]
    assert whole[1].text == lessons["What is it?", "a cat", "a dog"]
    assert [completion.text for completion in pieces] == [completion.text for completion in whole]
    assert [streamed[0], streamed[1]] == [completion.text for completion in whole]
    for completion in whole:
        assert completion.label_logprobs is None
        assert completion.finish_reason == "stop"
        assert completion.prompt_tokens > completion.completion_tokens > 0


@pytest.mark.parametrize("mode", ["critique", "fast"])
async def test_a_judge_counts_votes_on_it(
    taught_server: tuple[str, str], make_picture: MakePicture, mode: Mode
) -> None:
    engine = OpenAIEngine(*taught_server)
    await engine.start()
    pair = Comparison(images=(make_picture(0),), question="What is it?", response_a="a cat", response_b="a dog")
    options = JudgeOptions(mode=mode, max_tokens=64)
    straight, swapped = [await Judge(engine).judge(comparison, options) for comparison in (pair, pair.swap())]
    await engine.close()
    assert straight.probability_source == "votes"
    assert len(straight.readings) == 2 * DEFAULT_NUM_VOTES
    assert straight.usage == swapped.usage
    assert straight.margin == (None if swapped.margin is None else -swapped.margin)


async def test_its_votes_are_samples_and_repeat_with_their_seeds(
    taught_server: tuple[str, str], make_prompts: MakePrompts, make_picture: MakePicture
) -> None:
    engine = OpenAIEngine(*taught_server)
    await engine.start()
    prompts = make_prompts("What is it?", "a dog", "a cat", images=[make_picture(0)])[:1] * 6
    hot = Sampling(temperature=2.0, seed=1, max_tokens=24)
    one, two = [[completion.text for completion in await engine.complete(prompts, hot)] for _ in range(2)]
    await engine.close()
    assert one == two
    assert len(set(one)) > 1


async def test_a_model_it_does_not_serve_is_refused_at_start(taught_server: tuple[str, str]) -> None:
    engine = OpenAIEngine(taught_server[0], "org/another")
    with pytest.raises(ModelLoadError, match="refuses even a plain question"):
        await engine.start()
    await engine.close()


@pytest.mark.skipif(not (judge_folder() / "config.json").exists(), reason="the shipped judge has not been built yet")
async def test_the_shipped_judge_judges_through_it(tmp_path: Path) -> None:
    picture = Image.new("RGB", (168, 168), "white")
    picture.paste("red", (40, 40, 120, 120))
    pair = Comparison(
        images=(picture,),
        question="How many dogs are there?",
        response_a="There are no dogs.",
        response_b="Three dogs.",
    )
    streamed: dict[Response, str] = {"A": "", "B": ""}

    def collect(first: Response, text: str) -> None:
        streamed[first] += text

    with serve(judge_folder(), tmp_path / "log") as url:
        engine = OpenAIEngine(url, str(judge_folder()))
        await engine.start()
        verdict = await Judge(engine).judge(pair, JudgeOptions(samples=2), on_text=collect)
        await engine.close()
    assert verdict.probability_source == "votes"
    assert verdict.label_mass >= 0.5  # it ends its critiques with a verdict
    assert verdict.critique
    assert all("Verdict:" in text for text in streamed.values())
