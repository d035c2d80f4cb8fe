"""An engine without a model: the same answer for the same input, at once. For tests and dry runs of everything around
a model.

Each response gets a quality from a hash of the images, the question and its own text, and the better one wins, so
verdicts are stable, agree between orders and change with every part of the input. They say nothing about quality.
Behaviour that a real engine shows only now and then (a preference for a position, no verdict, delay, failure) is a
constructor argument.

Tokens are words here; log-probabilities follow from the qualities; sampling draws from a hash of seed and row. Whoever
looks for speed or accuracy looks elsewhere.
"""

import asyncio
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.errors import EngineClosedError

FakeVerdict = Literal["content", "first", "second", "none"]
TOKENS_PER_IMAGE = 36
_SEPARATOR = "\nSecond response:"
_CERTAIN = 4.0
"""Log-odds (nats) of a verdict that is the same whatever the content."""


class FakeEngine:
    """A deterministic stand-in for a model, satisfying `genrm.engines.contract.Engine`.

    verdict: `content` prefers by a hash of the content; `first` and `second` always prefer that position; `none` never
    gives a verdict. position_bias: log-odds (nats) that `content` adds in favour of the first position. label_mass:
    probability on legal labels, in (0, 1]. has_logprobs: False behaves like a server that reports none. delay_seconds:
    time per call, spread over the words that are streamed. failure: raised by every call in place of an answer.
    """

    def __init__(
        self,
        *,
        model: str = "fake",
        verdict: FakeVerdict = "content",
        position_bias: float = 0.0,
        label_mass: float = 0.98,
        has_logprobs: bool = True,
        delay_seconds: float = 0.0,
        failure: Exception | None = None,
    ) -> None:
        self._model = model
        self._has_logprobs = has_logprobs
        self._closed = False
        self.verdict: FakeVerdict = verdict
        self.position_bias = position_bias
        self.label_mass = label_mass
        self.delay_seconds = delay_seconds
        self.failure = failure
        self.num_calls = 0
        """Calls of `complete` so far, failed ones included."""

    @property
    def model(self) -> str:
        """The name given to the constructor."""
        return self._model

    @property
    def has_logprobs(self) -> bool:
        """As given to the constructor."""
        return self._has_logprobs

    async def start(self) -> None:
        """Nothing to load."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Answer every prompt; see the class for how. Raises `failure` if there is one, EngineClosedError after
        `close`.
        """
        self.num_calls += 1
        if self._closed:
            raise EngineClosedError("The fake engine is closed. Build another one.")
        if self.failure is not None:
            raise self.failure
        answers = [self._answer(prompt, sampling, row=row) for row, prompt in enumerate(prompts)]
        await self._write(answers, on_text)
        return [
            self._complete(
                prompt, words, cut=cut, sampling=sampling, shared=row > 0 and _share_prefix(prompts[0], prompt)
            )
            for row, (prompt, (words, cut)) in enumerate(zip(prompts, answers, strict=True))
        ]

    async def close(self) -> None:
        """Refuse every later call."""
        self._closed = True

    def _answer(self, prompt: Prompt, sampling: Sampling, *, row: int) -> tuple[list[str], bool]:
        """The words of the answer, and whether `max_tokens` cut it."""
        words = list(_split_words(self._compose(prompt, sampling, row=row)))
        return words[: sampling.max_tokens], len(words) > sampling.max_tokens

    def _compose(self, prompt: Prompt, sampling: Sampling, *, row: int) -> str:
        first, _, second = prompt.tail.partition(_SEPARATOR)
        looks = (
            f"The picture was hashed; the first part has {len(first.split())} words, the second {len(second.split())}."
        )
        if not sampling.labels:
            return f"{looks} {_digest(prompt, prompt.tail):.3f}"
        if self.verdict == "none":
            return " Neither." if prompt.answer_prefix else f"{looks} Neither is better."
        p_first = 1 / (1 + math.exp(-self._log_odds(prompt)))
        threshold = 0.5
        if sampling.temperature > 0:
            threshold = _digest(prompt, f"{sampling.seed or 0} {row} {prompt.tail}")
        label = sampling.labels[0 if p_first > threshold else 1]
        return f" {label}" if prompt.answer_prefix else f"{looks} {sampling.marker} {label}"

    def _log_odds(self, prompt: Prompt) -> float:
        if self.verdict != "content":
            return _CERTAIN if self.verdict == "first" else -_CERTAIN
        first, _, second = prompt.tail.partition(_SEPARATOR)
        quality_first = _digest(prompt, first.partition(":")[2].strip())
        return 2 * _CERTAIN * (quality_first - _digest(prompt, second.strip())) + self.position_bias

    def _complete(self, prompt: Prompt, words: list[str], *, cut: bool, sampling: Sampling, shared: bool) -> Completion:
        text = "".join(words)
        label_logprobs = None
        if self._has_logprobs and sampling.labels and text.endswith(sampling.labels):
            log_odds = self._log_odds(prompt)
            label_logprobs = tuple(
                math.log(self.label_mass) - math.log1p(math.exp(sign * log_odds)) for sign in (-1, 1)
            )
        prefix_tokens = len(f"{prompt.system} {prompt.shared}".split()) + TOKENS_PER_IMAGE * len(prompt.images)
        return Completion(
            text=text,
            label_logprobs=label_logprobs,
            finish_reason="length" if cut else "stop",
            prompt_tokens=prefix_tokens + len(prompt.tail.split()),
            completion_tokens=len(words),
            cached_tokens=prefix_tokens if shared else 0,
            engine_seconds=self.delay_seconds,
        )

    async def _write(self, answers: list[tuple[list[str], bool]], on_text: OnText | None) -> None:
        num_steps = max((len(words) for words, _ in answers), default=0) if on_text else 1
        for step in range(num_steps):
            await asyncio.sleep(self.delay_seconds / num_steps)
            for row, (words, _) in enumerate(answers):
                if on_text is not None and step < len(words):
                    on_text(row, words[step])


def _digest(prompt: Prompt, text: str) -> float:
    """A number in [0, 1) that depends on images, question and text."""
    state = hashlib.blake2b(f"{prompt.shared}\0{text}".encode(), digest_size=8)
    for image in prompt.images:
        state.update(f"{image.size}".encode() + image.tobytes())
    return int.from_bytes(state.digest()) / 2**64


def _split_words(text: str) -> Iterator[str]:
    """The text in pieces of one word each with the space before it, so that joining them gives the text back."""
    return (match.group() for match in re.finditer(r"\s*\S+", text))


def _share_prefix(one: Prompt, two: Prompt) -> bool:
    return (one.system, one.shared, one.images) == (two.system, two.shared, two.images)
