"""OpenAI's chat completions on the wire: prompts to request messages, replies (whole or streamed) to text and token
probabilities.

Pure functions and values; `genrm.engines.openai_server` does the talking. Only the fields that a judge needs are
looked at, and a reply that lacks optional ones (usage, log-probabilities) is still a reply.
"""

import base64
import codecs
import io
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, Field

from genrm.engines.contract import Prompt
from genrm.parsing import parse_verdict
from genrm.types import FinishReason

_DRESS = " \t\r\n*_`\"'“”‘’()[].,!"
"""What a token may carry around a label."""
_LEAST_PROBABILITY = 1e-12


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TokenChoice(_Fields):
    """One token with its natural-log probability, among those that stood to choose."""

    token: str
    logprob: float
    byte_values: list[Annotated[int, Field(ge=0, le=255)]] | None = Field(default=None, alias="bytes")

    @property
    def raw(self) -> bytes:
        """The token's bytes, which may end inside a character."""
        return self.token.encode() if self.byte_values is None else bytes(self.byte_values)


class TokenLogprobs(TokenChoice):
    """A token that was written, with the likeliest alternatives."""

    top_logprobs: list[TokenChoice] = []


class _Logprobs(_Fields):
    content: list[TokenLogprobs] | None = None


class _Message(_Fields):
    content: str | None = None


class _Choice(_Fields):
    message: _Message | None = None
    delta: _Message | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _TokenDetails(_Fields):
    cached_tokens: int | None = None


class _Usage(_Fields):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _TokenDetails | None = None


class ChatEvent(_Fields):
    """A whole reply, or one event of a streamed one. Validation fails if it has no choices."""

    choices: list[_Choice]
    usage: _Usage | None = None

    @property
    def text(self) -> str:
        """The text of the first choice, or the new part of it; empty if there is none."""
        message = (self.choices[0].message or self.choices[0].delta) if self.choices else None
        return (message.content or "") if message else ""

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice ended, in the server's words; None if it has not, or does not say."""
        return self.choices[0].finish_reason if self.choices else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a server answered to one prompt."""

    text: str
    tokens: tuple[TokenLogprobs, ...] | None
    """Token by token, as far as the server tells; None if it reports no log-probabilities."""
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


def merge_events(events: Iterable[ChatEvent]) -> Reply:
    """One reply from its events; a reply that was not streamed is one event."""
    text, tokens, finish_reason, usage = "", None, None, _Usage()
    for event in events:
        text += event.text
        usage = event.usage or usage
        finish_reason = event.finish_reason or finish_reason
        for choice in event.choices[:1]:
            if choice.logprobs is not None and choice.logprobs.content is not None:
                tokens = (*(tokens or ()), *choice.logprobs.content)
    details = usage.prompt_tokens_details
    return Reply(
        text=text,
        tokens=tokens,
        finish_reason="length" if finish_reason == "length" else "stop",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
    )


def encode_image(image: Image) -> str:
    """A picture as a data URL of a PNG file: lossless, so that the model sees what was given. Takes CPU time."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def build_messages(prompt: Prompt, image_urls: Sequence[str], *, can_continue: bool) -> list[dict[str, Any]]:
    """The conversation of a prompt.

    image_urls: one data URL per image. can_continue: the server can go on from a started assistant turn; if not, a
    prompt with an `answer_prefix` asks in words for an answer that begins so.
    """
    text = prompt.shared + prompt.tail
    if prompt.answer_prefix and not can_continue:
        text += f"\nWrite no critique. Begin your answer with '{prompt.answer_prefix}'."
    content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in image_urls]
    content.append({"type": "text", "text": text})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": prompt.system})
    if prompt.answer_prefix and can_continue:
        messages.append({"role": "assistant", "content": prompt.answer_prefix})
    return messages


def find_label_logprobs(
    tokens: Sequence[TokenLogprobs], *, answer_prefix: str, can_continue: bool, marker: str, labels: Sequence[str]
) -> tuple[float, ...] | None:
    """Natural-log probability of each label where the last legal verdict stands, or None without one.

    tokens: the reply. answer_prefix: what it was to begin with; it is read as if it stood before the reply, also where
    the reply repeats it or leaves it out. can_continue: the server really went on from there; then, without a verdict,
    the first token's position counts: it is the verdict position, whatever was written there. A label that the server
    does not list gets an upper bound: no more than the least likely token listed, and no more than what the listed ones
    leave. If it lists none of them, nothing is known but that all are unlikely, and they get next to nothing.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(token.raw) for token in tokens]
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    label_start = parse_verdict(answer_prefix + "".join(pieces), marker=marker, labels=labels).label_start
    if label_start is not None and label_start >= len(answer_prefix):
        position = bisect_right(starts, label_start - len(answer_prefix)) - 1
    elif answer_prefix and can_continue and tokens:
        position = 0
    else:
        return None
    return _read_position(tokens[position], labels)


def _read_position(token: TokenLogprobs, labels: Sequence[str]) -> tuple[float, ...]:
    """The labels' log-probabilities at one position, spellings that differ in case or dress added up."""
    choices = {choice.raw: min(choice.logprob, 0.0) for choice in (*token.top_logprobs, token)}
    words = [(raw.decode("utf-8", "replace").strip(_DRESS).casefold(), logprob) for raw, logprob in choices.items()]
    wanted = [label.casefold() for label in labels]
    if not any(word in wanted for word, _ in words):  # labels of several tokens are known by their first
        words = [(_complete(word, wanted), logprob) for word, logprob in words]
    rest = max(1 - math.fsum(math.exp(logprob) for logprob in choices.values()), _LEAST_PROBABILITY)
    bound = min(*choices.values(), math.log(rest))
    masses = [math.fsum(math.exp(logprob) for word, logprob in words if word == label) for label in wanted]
    if not any(masses):
        bound = math.log(_LEAST_PROBABILITY)
    return tuple(math.log(mass) if mass > 0 else bound for mass in masses)


def _complete(word: str, wanted: Sequence[str]) -> str:
    """The only label that begins with `word`, else `word`."""
    fitting = [label for label in wanted if word and label.startswith(word)]
    return fitting[0] if len(fitting) == 1 else word
