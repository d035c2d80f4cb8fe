"""A row: one prompt of a call on its way through the model, and the call that it belongs to.

A row collects the tokens it is given, knows when it is finished, and keeps the label log-probabilities of every place
where a label was written. Which of them is the verdict, `genrm.parsing` says of the finished text, as it does for all
engines. It does not know where its keys and values lie.
"""

import contextlib
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.lora import Adapter
from genrm.engines.sampling import row_generator
from genrm.engines.text_stream import TextStream
from genrm.engines.verdict_tokens import decode
from genrm.parsing import parse_verdict
from genrm.types import FinishReason


class Call:
    """One call of `complete`: prompts that are answered together.

    `future` gets the completions in the order of the prompts, or one error for all. Cancelling it drops all rows.
    adapter: the version that all rows use; the call's hold on it keeps it alive until the last of them is done.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        on_text: OnText | None = None,
        *,
        adapter: Adapter | None = None,
    ) -> None:
        self.prompts = tuple(prompts)
        self.sampling = sampling
        self.on_text = on_text
        self.adapter = adapter
        self.future: Future[list[Completion]] = Future()
        self.submitted = time.perf_counter()
        self.is_started = False
        self._completions: dict[int, Completion] = {}

    @property
    def is_over(self) -> bool:
        """Answered, failed or cancelled: nothing more need be computed for it."""
        return self.future.done()

    def complete_row(self, index: int, completion: Completion) -> None:
        """Take the completion of one prompt; the last one answers the call."""
        self._completions[index] = completion
        if len(self._completions) == len(self.prompts):
            with contextlib.suppress(InvalidStateError):  # cancelled this moment
                self.future.set_result([self._completions[index] for index in range(len(self.prompts))])

    def fail(self, error: BaseException) -> None:
        """Fail the call, unless it is over."""
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """What the rows of a call need to know of the tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    stop_ids: frozenset[int]
    """Tokens that end a text."""
    label_ids: tuple[int, ...]
    """Token ids of `Sampling.labels`, in their order; empty if no label probabilities are wanted."""
    spellings: Mapping[int, tuple[int, ...]]
    """For every token that is a label, the ids of all labels in the same spelling."""


class Row:
    """One prompt being answered.

    index: of the prompt in its call. position: rotary position of the last token so far, the prompt's at first.
    max_tokens: most tokens to write, already limited to what the model's context leaves.
    """

    def __init__(
        self, call: Call, index: int, *, vocabulary: Vocabulary, num_prompt_tokens: int, position: int, max_tokens: int
    ) -> None:
        self.call = call
        self.index = index
        self.vocabulary = vocabulary
        self.num_prompt_tokens = num_prompt_tokens
        self.num_cached_tokens = 0
        self.position = position
        self.max_tokens = max_tokens
        self.generator = row_generator(call.sampling.seed, index)
        self.ids: list[int] = []
        self.admitted = 0.0
        self.finish_reason: FinishReason | None = None
        self._answer_prefix = call.prompts[index].answer_prefix
        self._label_logprobs: dict[int, tuple[float, ...]] = {}  # by the label's index in ids
        self._label_text = ""
        self._stream = TextStream(vocabulary.tokenizer) if call.on_text else None
        self.wants_label_only = bool(vocabulary.label_ids) and self._answer_prefix.endswith(call.sampling.marker)

    @property
    def num_reserved_tokens(self) -> int:
        """Tokens that the row may come to occupy: its prompt and all it may write."""
        return self.num_prompt_tokens + self.max_tokens

    def label_ids_at(self, token: int) -> tuple[int, ...]:
        """The ids whose probabilities are wanted before `token` is accepted; empty if it is no label."""
        if self.wants_label_only:
            return self.vocabulary.label_ids
        return self.vocabulary.spellings.get(token, ())

    def accept(self, token: int, label_logprobs: tuple[float, ...] | None = None) -> None:
        """Take the next token. label_logprobs: natural-log probabilities of what `label_ids_at` named, if anything.

        Raises whatever `on_text` raises.
        """
        self.position += 1
        if token in self.vocabulary.stop_ids:
            self._finish("stop")
            return
        if label_logprobs is not None:
            self._label_logprobs[len(self.ids)] = label_logprobs
        self.ids.append(token)
        if self.call.on_text and self._stream and (piece := self._stream.take(self.ids)):
            self.call.on_text(self.index, piece)
        if len(self.ids) >= self.max_tokens:
            self._finish("length")

    def accept_label(self, label_logprobs: tuple[float, ...]) -> None:
        """End a row that wants nothing but a label: its text is the likeliest one. Raises whatever `on_text` raises."""
        best = max(range(len(label_logprobs)), key=label_logprobs.__getitem__)
        self._label_logprobs[0] = label_logprobs
        self._label_text = f" {self.call.sampling.labels[best]}"
        self._finish("stop")

    def completion(self) -> Completion:
        """The row's answer, once it is finished."""
        assert self.finish_reason, "a row is asked for its answer before it is finished"
        now = time.perf_counter()
        ended_by_token = self.finish_reason == "stop" and not self._label_text
        text = self._text()
        return Completion(
            text=text,
            label_logprobs=self._label_logprobs[0] if self._label_text else self._find_label_logprobs(text),
            finish_reason=self.finish_reason,
            prompt_tokens=self.num_prompt_tokens,
            completion_tokens=1 if self._label_text else len(self.ids) + ended_by_token,
            cached_tokens=self.num_cached_tokens,
            queue_seconds=self.admitted - self.call.submitted,
            engine_seconds=now - self.admitted,
        )

    def _finish(self, reason: FinishReason) -> None:
        self.finish_reason = reason
        if self.call.on_text and self._stream and (piece := self._stream.rest(self._text())):
            self.call.on_text(self.index, piece)

    def _text(self) -> str:
        return self._label_text or decode(self.vocabulary.tokenizer, self.ids)

    def _find_label_logprobs(self, text: str) -> tuple[float, ...] | None:
        """Those of the last legal verdict in the text; None without one, or if its label is no token of ours."""
        if not self._label_logprobs:
            return None
        sampling = self.call.sampling
        parsed = parse_verdict(self._answer_prefix + text, marker=sampling.marker, labels=sampling.labels)
        if parsed.label_start is None:
            return None
        start = parsed.label_start - len(self._answer_prefix)
        places = list(self._label_logprobs)
        found = bisect_right(places, start, key=self._count_characters) - 1
        if found < 0 or start >= self._count_characters(places[found] + 1):
            return None
        return self._label_logprobs[places[found]]

    def _count_characters(self, num_tokens: int) -> int:
        """Characters in the text of the first tokens."""
        return len(decode(self.vocabulary.tokenizer, self.ids[:num_tokens]))
