"""Items with pictures of their own, and engines that answer by a rule, for what needs no model."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from PIL import Image

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from training.ipa.items import Item
from training.sources import RowError

Answer = Callable[[Prompt, int], str]


class RuleEngine(FakeEngine):
    """Says what a rule says: of the prompt, and of its number in the call. Remembers calls and samplings."""

    def __init__(self, answer: Answer, *, finish_reason: Any = "stop") -> None:
        super().__init__()
        self.answer, self.finish_reason = answer, finish_reason
        self.calls: list[list[Prompt]] = []
        self.samplings: list[Sampling] = []

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        completions = await super().complete(prompts, sampling, on_text=on_text)
        self.calls.append(list(prompts))
        self.samplings.append(sampling)
        return [
            Completion(
                text=self.answer(prompt, number),
                label_logprobs=None,
                finish_reason=self.finish_reason,
                prompt_tokens=each.prompt_tokens,
                completion_tokens=each.completion_tokens,
                cached_tokens=0,
            )
            for number, (prompt, each) in enumerate(zip(prompts, completions, strict=True))
        ]


@pytest.fixture
def engine_that() -> Callable[..., RuleEngine]:
    """Makes an engine from a rule."""
    return RuleEngine


@pytest.fixture
def make_item() -> Callable[..., Item]:
    """Makes an open item; every field can be another one. has_image: or it cannot be read."""

    def make(name: str = "a", *, has_image: bool = True, **fields: Any) -> Item:
        def load() -> tuple[Image.Image, ...]:
            if not has_image:
                raise RowError("its image cannot be read.")
            return (Image.new("RGB", (32, 32), "teal"),)

        values = {"question": f"What is {name}?", "reference": "It is a dog.", "form": "open", **fields}
        return Item(id=name, load_images=load, **values)

    return make
