"""The contract between a judge and whatever runs its language model.

An engine gets prompts whose parts are already text (see `genrm.prompts`) and gives back completions. It knows nothing
of A and B, of orders or of verdict rules. Prompts of one call that share `system`, `images` and `shared` may be
computed once up to there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from genrm.types import FinishReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One conversation to be continued: system turn, user turn of images + shared + tail, then the assistant's turn."""

    system: str
    images: tuple[Image, ...]
    shared: str
    """User text after the images that other prompts of the call have too (the question)."""
    tail: str
    """User text that differs between prompts (the responses in one order)."""
    answer_prefix: str = ""
    """What the assistant has already written, e.g. the verdict marker in fast mode. Not repeated in the completion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How to continue prompts."""

    temperature: float = 0.0
    """0 is greedy. Label log-probabilities are always reported at temperature 1."""
    top_p: float = 1.0
    seed: int | None = None
    """Same seed, same prompts, same engine: same text. None: not reproducible when temperature > 0."""
    max_tokens: int = 512
    marker: str = "Verdict:"
    """The text right before a label."""
    labels: tuple[str, ...] = ("First", "Second")
    """Legal labels, each one token after marker and a space. Empty: no label probabilities are wanted (plain
    generation)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What an engine wrote after one prompt."""

    text: str
    """Decoded text, without special tokens and without `answer_prefix`."""
    label_logprobs: tuple[float, ...] | None
    """Natural-log probability of each legal label where `genrm.parsing` finds the *last* legal verdict in
    `answer_prefix` and text (in fast mode: at the end of `answer_prefix`), at temperature 1, over the whole vocabulary.
    None: no such position, or nothing is known of it."""
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float = 0.0
    engine_seconds: float = 0.0


OnText = Callable[[int, str], None]
"""Called as `on_text(index of the prompt in the call, new text)` while a completion is written, from any thread."""


class Engine(Protocol):
    """Turns prompts into completions. Implementations are safe to call from many tasks of one event loop."""

    @property
    def model(self) -> str:
        """The name under which results are reported: hub id or folder name, with the adapter's name if there is one."""

    @property
    def has_logprobs(self) -> bool:
        """Whether `Completion.label_logprobs` can be given; if not, the judge counts votes over sampled texts."""

    async def start(self) -> None:
        """Load what is needed and check the labels. Raises ModelLoadError with the file or address and the remedy."""

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Continue every prompt; results in the order given.

        Cancelling the awaiting task drops the work, queued or running. Raises InputTooLongError if a prompt does not
        fit the model's context, EngineError if the engine fails, EngineClosedError after `close`.
        """

    async def close(self) -> None:
        """Finish or refuse what waits, and free the model."""


@runtime_checkable
class AdaptableEngine(Protocol):
    """An engine that can put LoRA adapters on its model while it runs."""

    async def load_adapter(self, source: str, *, name: str) -> Engine:
        """One version of an adapter as an engine of its own, called `name`, tried out and ready. It lives as long as
        somebody holds it, and needs neither `start` nor `close`.

        source: a folder or hub id. Raises ModelLoadError if it is not a whole adapter of this engine's model; nothing
        has changed then.
        """


@runtime_checkable
class MultiModelEngine(Protocol):
    """An engine in front of something that serves several models."""

    async def list_models(self) -> Sequence[str]:
        """Their names, as of now. Raises EngineError."""

    def for_model(self, name: str) -> Engine:
        """One of them as an engine of its own, which needs neither `start` nor `close`."""
