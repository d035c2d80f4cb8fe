"""Rows with pictures and known objects on disk, and a policy that knows what to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

import training.policy.asking
from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError, InvalidComparisonError
from training.engines import EngineChoice

NAMES = ("dog", "cat", "car", "bus", "pizza", "clock")


class TellingPolicy(FakeEngine):
    """Says what `reply` does. asked: the questions it was asked, in order. seen: each with the colour of its picture.
    breaks_after: calls that go well.
    """

    def __init__(self, reply: Callable[[str], str], *, breaks_after: int | None = None) -> None:
        super().__init__(model="telling")
        self.reply = reply
        self.asked: list[str] = []
        self.seen: list[tuple[str, object]] = []
        self.temperatures: set[float] = set()
        self.breaks_after = breaks_after

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """One reply per prompt; a question of "too long" is refused, as a model refuses what does not fit."""
        del on_text
        if self.num_calls == self.breaks_after:
            raise EngineError("It broke.")
        if any("too long" in prompt.shared for prompt in prompts):
            raise InvalidComparisonError("It does not fit.")
        self.num_calls += 1
        self.asked += [prompt.shared for prompt in prompts]
        self.seen += [(prompt.shared, prompt.images[0].getpixel((0, 0))) for prompt in prompts]
        self.temperatures.add(sampling.temperature)
        return [
            Completion(
                text=self.reply(prompt.shared),
                label_logprobs=None,
                finish_reason="stop",
                prompt_tokens=1,
                completion_tokens=1,
                cached_tokens=0,
            )
            for prompt in prompts
        ]


Install = Callable[..., TellingPolicy]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a telling policy in place of every model."""

    def make(reply: Callable[[str], str], *, breaks_after: int | None = None) -> TellingPolicy:
        policy = TellingPolicy(reply, breaks_after=breaks_after)

        def open_telling(choice: EngineChoice) -> TellingPolicy:
            del choice
            return policy

        monkeypatch.setattr(training.policy.asking, "open_engine", open_telling)
        return policy

    return make


def make_rows(num: int) -> list[dict[str, object]]:
    """Rows of three kinds in turns; row i shows two of the names."""
    rows: list[dict[str, object]] = []
    for i in range(num):
        here, other = NAMES[i % 6], NAMES[(i + 1) % 6]
        question, reference, kind = (
            (f"How many {here}s are in picture {i}?", f"There is one {here}.", "count"),
            (f"Is there a {here} in picture {i}?", f"Yes, there is a {here}.", "existence"),
            (f"What is in picture {i}?", f"A {here} and a {other}.", "caption"),
        )[i % 3]
        rows.append(
            {
                "id": f"r{i}", "image": f"{i}.png", "question": question, "reference": reference, "kind": kind,
                "group": ("reasoning", "hallucination", "general")[i % 3], "open_ended": kind == "caption",
                "objects": [{"name": here}, {"name": other}],
            }
        )  # fmt: skip
    return rows


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[[Sequence[dict[str, object]]], str]:
    """Writes rows and a picture for each name in them; the path of the rows."""
    folder = tmp_path / "rows"

    def write(rows: Sequence[dict[str, object]]) -> str:
        folder.mkdir(exist_ok=True)
        for number, row in enumerate(rows):
            Image.new("RGB", (56, 56), (number % 256, 9, 99)).save(folder / str(row["image"]))
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def rows() -> list[dict[str, object]]:
    """24 rows; see `make_rows`."""
    return make_rows(24)
