"""The in-process engine: a transformers model of the Qwen2-VL family, run by one worker thread for many tasks.

What makes it fast at judging: images are encoded once per comparison, the shared beginning of both orders is computed
once, what precedes the image once per system text, and rows of concurrent calls are decoded together, joining and
leaving between steps (`genrm.engines.worker`). Results do not depend on what else is in the batch beyond rounding.
Serving large models to very many clients is vLLM's trade: see `genrm.engines.openai_server`.
"""

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from transformers import PreTrainedModel

from genrm.engines.adapted import AdaptedEngine
from genrm.engines.adapter_loading import build_skeleton, read_adapter
from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.forward import Forward
from genrm.engines.loading import LoadedModel, Placement, choose_placement, load_model
from genrm.engines.lora import Adapter
from genrm.engines.model_files import display_name
from genrm.engines.preparation import Preparation
from genrm.engines.progress import EngineStats, OnBatch, Progress
from genrm.engines.rows import Call, Vocabulary
from genrm.engines.verdict_tokens import find_label_ids, find_spellings
from genrm.engines.worker import Worker
from genrm.errors import EngineClosedError, GenRMError, InvalidComparisonError, ModelLoadError

DEFAULT_MAX_BATCH_TOKENS = 65_536
DEFAULT_MAX_PREFIX_TOKENS = 8_192
_MAX_PASS_TOKENS = {"cpu": 1_024, "cuda": 16_384}
"""Most tokens of one pass over prompts: on a CPU what still fits its caches, on a GPU what bounds its memory."""
_DEFAULT_SAMPLING = Sampling()
_WARM_UP = Prompt(system="Answer.", images=(Image.new("RGB", (64, 64), "gray"),), shared="What is it? ", tail="Say it.")

_log = logging.getLogger(__name__)


class InProcessEngine:
    """Runs a model in this process, satisfying `genrm.engines.contract.Engine`.

    model, adapter: a folder or a hub id. device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. dtype: `auto`, `float32`,
    `bfloat16`, `float16`. attention: `sdpa` or `eager`. max_batch_tokens: token budget of the rows that run together,
    counted as rows × the longest row's prompt and answer; it bounds the memory of cached keys and values.
    max_prefix_tokens: images and questions of earlier calls that stay computed, least recently used out first; 0: none.
    on_batch: told of every piece of work, in the worker's thread.
    """

    has_logprobs = True

    def __init__(
        self,
        model: str,
        *,
        adapter: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "sdpa",
        max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS,
        max_prefix_tokens: int = DEFAULT_MAX_PREFIX_TOKENS,
        on_batch: OnBatch | None = None,
    ) -> None:
        if max_batch_tokens < 1:
            raise ValueError(f"max_batch_tokens is {max_batch_tokens}; it must be at least 1.")
        if max_prefix_tokens < 0:
            raise ValueError(f"max_prefix_tokens is {max_prefix_tokens}; it must be at least 0.")
        self._name = model
        self._adapter = adapter
        self._device = device
        self._dtype = dtype
        self._attention = attention
        self._max_batch_tokens = max_batch_tokens
        self._max_prefix_tokens = max_prefix_tokens
        self._on_batch = on_batch
        self._progress = Progress()
        self._loaded: LoadedModel | None = None
        self._skeleton: PreTrainedModel | None = None
        self._worker: Worker | None = None
        self._vocabularies: dict[tuple[str, tuple[str, ...]], Vocabulary] = {}
        self._changing = asyncio.Lock()

    @property
    def model(self) -> str:
        """Hub id or folder name, with the adapter's behind a plus sign."""
        names = [display_name(self._name)]
        if self._adapter:
            names.append(display_name(self._adapter))
        return "+".join(names)

    @property
    def weights(self) -> str:
        """Folder or hub id of the adapter, or of the model where there is none; what belongs to them lies there."""
        return self._adapter or self._name

    @property
    def placement(self) -> Placement | None:
        """Where and how the model runs, and why; None while it is not loaded."""
        return self._loaded.placement if self._loaded else None

    @property
    def is_busy(self) -> bool:
        """Whether any call waits or runs."""
        return self._worker is not None and self._worker.is_busy

    @property
    def has_died(self) -> bool:
        """Whether the worker has ended by itself; every call is refused until the engine is closed and started."""
        return self._worker is not None and self._worker.has_died

    def seconds_since_progress(self) -> float:
        """How long the worker has not finished anything although there is work; 0 while there is none."""
        return self._progress.seconds_since if self.is_busy else 0.0

    def stats(self) -> EngineStats:
        """What runs and waits now, and what has been done since `start`."""
        return self._worker.stats() if self._worker else self._progress.stats

    async def start(self) -> None:
        """Load the model, check the labels, and run one short prompt. Raises ModelLoadError, naming file and remedy.

        Does nothing if the engine is running. Whatever ends it early, nothing of the model is left behind.
        """
        async with self._changing:
            if self._worker:
                return
            self._progress = Progress()
            try:
                self._loaded = await asyncio.to_thread(self._load)
                self._worker = await asyncio.to_thread(self._build_worker, self._loaded)
                self._worker.start()
                await self._warm_up()
            except BaseException as error:
                await self._let_go()
                if isinstance(error, GenRMError) or not isinstance(error, RuntimeError | MemoryError):
                    raise
                _log.exception("Starting %s failed", self._name)
                raise ModelLoadError(
                    f"{self._name} cannot be started ({type(error).__name__}); the cause is in the log. If memory ran "
                    "out, use a smaller model, dtype bfloat16, or another device."
                ) from error

    async def complete(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling = _DEFAULT_SAMPLING,
        *,
        on_text: OnText | None = None,
        adapter: Adapter | None = None,
    ) -> list[Completion]:
        """Continue every prompt; results in the order given.

        Prompts with the same system text, the same image objects and the same shared text are computed once up to
        there, and not again by later calls while that beginning is kept. An `answer_prefix` that ends with the marker
        gets the label probabilities at once: the text is then the likeliest label. `completion_tokens` counts the token
        that ends a text. adapter: the version that all prompts are read with; calls of any adapters share batches.

        Cancelling the awaiting task drops the work, queued or running. Raises InvalidComparisonError for an option out
        of range, labels that are not single tokens, or an image placeholder in a text; InvalidImageError;
        InputTooLongError; EngineError; EngineClosedError before `start` and after `close`; and what `on_text` raises.
        """
        _check_sampling(sampling)
        if not self._worker:
            raise EngineClosedError(
                "The engine is not running. Call start() first, or send the call to another replica."
            )
        if not prompts:
            return []
        call = Call(prompts, sampling, on_text, adapter=adapter)
        self._worker.submit(call)
        return await asyncio.wrap_future(call.future)

    async def load_adapter(self, source: str, *, name: str) -> AdaptedEngine:
        """One version of a LoRA adapter as an engine of its own; see `contract.AdaptableEngine`.

        Files are read in a thread. The running model is not touched until a call uses the adapter, and then by the
        worker, between two passes. The first such call is made here: what cannot run is refused.
        """
        if not self._loaded or not self._skeleton:
            raise EngineClosedError("The engine is not running. Call start() first.")
        adapter = await asyncio.to_thread(
            read_adapter,
            source,
            name=name,
            base=self._name,
            is_base_changed=self._adapter is not None,
            model=self._loaded.model,
            skeleton=self._skeleton,
        )
        adapted = AdaptedEngine(self, adapter)
        await self._try_out(adapted)
        return adapted

    async def close(self) -> None:
        """Refuse what waits, finish what runs, and free the model. `start` loads it again."""
        async with self._changing:
            await self._let_go()

    async def _let_go(self) -> None:
        worker, self._worker = self._worker, None
        if worker:
            await asyncio.to_thread(worker.stop)
        self._loaded = self._skeleton = None
        self._vocabularies.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self) -> LoadedModel:
        placement = choose_placement(device=self._device, dtype=self._dtype, attention=self._attention)
        torch.set_num_threads(placement.num_threads)
        loaded = load_model(self._name, adapter=self._adapter, placement=placement)
        self._skeleton = build_skeleton(loaded.model)
        return loaded

    def _build_worker(self, loaded: LoadedModel) -> Worker:
        max_pass_tokens = _MAX_PASS_TOKENS.get(loaded.placement.device.type, _MAX_PASS_TOKENS["cuda"])
        forward = Forward(loaded.model, max_tokens=max_pass_tokens)
        self._vocabulary_for(_DEFAULT_SAMPLING)
        return Worker(
            forward=forward,
            preparation=Preparation(
                loaded.processor,
                loaded.model,
                max_batch_tokens=self._max_batch_tokens,
                keeps_prefixes=self._max_prefix_tokens > 0,
            ),
            vocabulary_for=self._vocabulary_for,
            max_batch_tokens=self._max_batch_tokens,
            max_prefix_tokens=self._max_prefix_tokens,
            progress=self._progress,
        )

    async def _warm_up(self) -> None:
        """Run a short prompt with an image through everything: what cannot work fails now, not at the first client."""
        try:
            await self.complete([_WARM_UP, _WARM_UP], Sampling(max_tokens=2))
        except GenRMError as error:
            raise ModelLoadError(
                f"{self._name} is loaded but cannot run a short prompt with an image: {error} Check its chat template "
                "(one image placeholder per image), the processor's settings and the device."
            ) from error
        self._progress.restart(self._on_batch)

    async def _try_out(self, adapted: AdaptedEngine) -> None:
        """Read one short prompt. Raises ModelLoadError if the adapter cannot run or gives no probabilities."""
        prompt = replace(_WARM_UP, answer_prefix=_DEFAULT_SAMPLING.marker)
        try:
            [completion] = await adapted.complete([prompt], _DEFAULT_SAMPLING)
        except EngineClosedError:
            raise
        except GenRMError as error:
            raise ModelLoadError(f"{adapted.weights} is read but cannot run a short prompt: {error}") from error
        if not all(math.isfinite(logprob) for logprob in completion.label_logprobs or (math.nan,)):
            raise ModelLoadError(
                f"{adapted.weights} makes the model's logits overflow, so that it knows no probabilities. Train it "
                "with a lower learning rate, or choose another dtype."
            )

    def _vocabulary_for(self, sampling: Sampling) -> Vocabulary:
        """Raises ModelLoadError if the labels are not single tokens."""
        key = (sampling.marker, sampling.labels) if sampling.labels else ("", ())
        if key not in self._vocabularies:
            assert self._loaded, "the worker asks only while a model is loaded"
            tokenizer = self._loaded.processor.tokenizer
            label_ids = find_label_ids(tokenizer, marker=sampling.marker, labels=sampling.labels)
            self._vocabularies[key] = Vocabulary(
                tokenizer=tokenizer,
                stop_ids=self._loaded.stop_ids,
                label_ids=label_ids,
                spellings=find_spellings(tokenizer, label_ids=label_ids, labels=sampling.labels),
            )
        return self._vocabularies[key]


def _check_sampling(sampling: Sampling) -> None:
    checks = [
        ("temperature", sampling.temperature, 0 <= sampling.temperature < math.inf, "at least 0 and finite"),
        ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "above 0 and at most 1"),
        ("max_tokens", sampling.max_tokens, sampling.max_tokens >= 1, "at least 1"),
        (
            "marker",
            repr(sampling.marker),
            bool(sampling.marker) or not sampling.labels,
            "some text, if labels are wanted",
        ),
    ]
    for name, value, is_allowed, allowed in checks:
        if not is_allowed:
            raise InvalidComparisonError(f"{name} is {value}; it must be {allowed}.", param=name)
