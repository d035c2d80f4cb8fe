"""The engine for any OpenAI-compatible server (`/v1/chat/completions`): vLLM, SGLang, llama.cpp, `transformers serve`.

Every prompt is one request, all of a call at once; batching and prefix caching are the server's business. Images
travel as PNG data URLs. Label probabilities are read from the reply's `logprobs` at the last verdict position. Three
abilities differ between servers and are found out by one-token requests in `start`:

- log-probabilities: a server that refuses or ignores the field has `has_logprobs` False, and the judge counts votes;
- continuing a started assistant turn (`continue_final_message`), which fast mode wants: where it is refused, the
  prompt asks for the verdict in words;
- sampling: `transformers serve` (neither of the above) samples only if `generation_config` says so, else its votes
  would all be copies, and it has one random state for all requests, so there they are sent one at a time.

Probabilities are those the server gives. vLLM's are of temperature 1 by default (`--logprobs-mode raw_logprobs`), as
the contract asks; SGLang's follow the request's temperature unless it runs with `SGLANG_RETURN_ORIGINAL_LOGPROB=1`.
Whether a label is one token cannot be asked over this API; a longer one is recognised by its first token. A server
that accepts `continue_final_message` and ignores it shows as label masses near 0 in fast mode, so the judge abstains
there.
"""

import asyncio
import copy
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from PIL import Image

from genrm.engines.chat_connection import ChatConnection, RefusedError
from genrm.engines.chat_wire import Reply, build_messages, encode_image, find_label_logprobs
from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.errors import EngineClosedError, EngineError, InputTooLongError, ModelLoadError

logger = logging.getLogger(__name__)

TOP_LOGPROBS = 20
"""Alternatives asked for at each position: the most that OpenAI and a default vLLM allow."""
_MIN_TOKENS_WITH_PREFIX = 8
"""Room for the beginning of an answer that was asked for in words, and a label behind it."""
_MAX_SEED = 2**63
"""Seeds are taken modulo this: servers keep them in 64 bits, one of them for the sign."""
_SAMPLE_IN_TRANSFORMERS = {"generation_config": json.dumps({"do_sample": True, "top_k": 0})}


class OpenAIEngine:
    """Completions from an OpenAI-compatible server.

    base_url: address up to and including the version, e.g. `http://localhost:8001/v1`; a bare host gets `/v1`. model:
    its name on that server; None takes the only one it serves. api_key: sent as a bearer token and shown nowhere.
    timeout_seconds: for one completion, retries included. start_timeout_seconds: the same for the requests in `start`,
    on which some servers load the model. max_requests: how many are under way at once; more wait. max_retries:
    attempts after the first while the server is busy, waiting as it says, else backoff_seconds × 2^attempt.
    extra_body: further fields of every request, e.g. `chat_template_kwargs`. transport: in place of the network, for
    tests. Raises ValueError if base_url is no http(s) address.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 120.0,
        start_timeout_seconds: float = 600.0,
        max_requests: int = 64,
        max_retries: int = 4,
        backoff_seconds: float = 0.5,
        extra_body: Mapping[str, Any] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = ChatConnection(
            base_url,
            api_key=api_key,
            max_requests=max_requests,
            max_retries=max_retries,
            backoff_seconds=backoff_seconds,
            transport=transport,
        )
        self._model = model
        self._timeout_seconds = timeout_seconds
        self._start_timeout_seconds = start_timeout_seconds
        self._extra_body = dict(extra_body or {})
        self._places = asyncio.Semaphore(max_requests)
        self._running: set[asyncio.Task[Completion]] = set()
        self._has_started = False
        self._closing = asyncio.Event()
        self._has_logprobs = True
        self._can_continue = True
        self._sampling_body: dict[str, Any] = {}

    @property
    def model(self) -> str:
        """The model's name on the server; empty before `start` if none was given."""
        return self._model or ""

    @property
    def has_logprobs(self) -> bool:
        """What `start` found out, or a later reply that came without them."""
        return self._has_logprobs

    async def start(self) -> None:
        """Reach the server, settle on the model and find out what it can do. Raises ModelLoadError with address and
        remedy.
        """
        try:
            if not self._model:
                self._model = self._choose_model(
                    await self._connection.list_models(timeout_seconds=self._timeout_seconds)
                )
            await self._find_abilities()
        except (EngineError, InputTooLongError) as error:
            raise ModelLoadError(str(error)) from error
        self._has_started = True
        logger.log(
            logging.INFO if self._has_logprobs else logging.WARNING,
            "%s at %s: probabilities come from %s; fast mode %s.",
            self._model,
            self._connection.address,
            "token log-probabilities" if self._has_logprobs else "votes, as the server reports no log-probabilities",
            "continues a started answer" if self._can_continue else "asks in words, as the server continues no answer",
        )

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Continue every prompt by a request of its own; row i has the seed `seed + i`, so that equal prompts differ.

        Raises as the contract says. Messages name the address and the remedy, never the key or the server's own words.
        """
        if self._closing.is_set():
            raise EngineClosedError("The engine is closed. Build another one.")
        if not self._has_started:
            raise EngineError("The engine was not started. Call start() before complete().")
        urls = await _encode_images(prompts)
        if self._closing.is_set():
            raise EngineClosedError("The engine was closed while this call was prepared. Build another one.")
        tasks = [
            asyncio.create_task(
                self._complete_one(
                    prompt,
                    self._build_body(prompt, sampling, [urls[id(image)] for image in prompt.images], row=row),
                    sampling,
                    on_text=None if on_text is None else _bind_row(on_text, row),
                )
            )
            for row, prompt in enumerate(prompts)
        ]
        self._running.update(tasks)
        try:
            return list(await asyncio.gather(*tasks))
        except asyncio.CancelledError:
            this_task = asyncio.current_task()
            if self._closing.is_set() and (this_task is None or not this_task.cancelling()):
                raise EngineClosedError("The engine was closed while this call waited. Send it again.") from None
            raise
        finally:
            for task in tasks:  # one failure fails the call, so the others are not worth their tokens
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._running.difference_update(tasks)

    async def list_models(self) -> Sequence[str]:
        """What the server lists now. Raises EngineError."""
        return await self._connection.list_models(timeout_seconds=self._timeout_seconds)

    def for_model(self, name: str) -> "OpenAIEngine":
        """Another model of the same server, through the same connections and with the abilities found out by `start`.

        It notices for itself when replies come without log-probabilities: models of one server may differ in that.
        """
        twin = copy.copy(self)
        twin._model = name  # noqa: SLF001 - its own class
        return twin

    async def close(self) -> None:
        """Drop what is under way and close the connections."""
        self._closing.set()
        for task in self._running:
            task.cancel()
        await self._connection.aclose()

    def _choose_model(self, offered: Sequence[str]) -> str:
        if len(offered) == 1:
            return offered[0]
        names = ", ".join(offered) if offered else "none that it lists"
        raise ModelLoadError(
            f"No model was named, and the server at {self._connection.address} offers {names}. Name one (GENRM_MODEL)."
        )

    async def _find_abilities(self) -> None:
        """Ask for one token with everything, and with less until the server accepts."""
        for has_logprobs, can_continue in ((True, True), (True, False), (False, True), (False, False)):
            self._has_logprobs, self._can_continue = has_logprobs, can_continue
            try:
                reply = await self._ask_for_one_token(temperature=0.0)
            except RefusedError:
                continue
            self._has_logprobs = has_logprobs and reply.tokens is not None
            break
        else:
            raise ModelLoadError(
                f"The model server at {self._connection.address} refuses even a plain question about an image to "
                f"'{self._model}'. Check that it is a vision-language model and that images are allowed; the server's "
                "words are in the log."
            )
        if not self._has_logprobs and not self._can_continue:
            self._sampling_body = _SAMPLE_IN_TRANSFORMERS
            try:
                await self._ask_for_one_token(temperature=1.0)
            except RefusedError:
                self._sampling_body = {}
            else:
                self._places = asyncio.Semaphore(1)

    async def _ask_for_one_token(self, *, temperature: float) -> Reply:
        prompt = Prompt(
            system="You answer in one word.",
            images=(Image.new("RGB", (56, 56), "white"),),
            shared="What colour is this?\n",
            tail="Say it.",
            answer_prefix="Colour:",
        )
        urls = list((await _encode_images([prompt])).values())
        body = self._build_body(prompt, Sampling(temperature=temperature), urls, row=0) | {"max_tokens": 1}
        return (await self._connection.ask(body, timeout_seconds=self._start_timeout_seconds)).reply

    def _build_body(self, prompt: Prompt, sampling: Sampling, image_urls: Sequence[str], *, row: int) -> dict[str, Any]:
        repeats_prefix = prompt.answer_prefix and not self._can_continue
        body: dict[str, Any] = {
            "model": self._model,
            "messages": build_messages(prompt, image_urls, can_continue=self._can_continue),
            "max_tokens": max(sampling.max_tokens, _MIN_TOKENS_WITH_PREFIX) if repeats_prefix else sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.temperature > 0:
            body |= self._sampling_body
            if sampling.seed is not None:
                body["seed"] = (sampling.seed + row) % _MAX_SEED
        if self._has_logprobs and sampling.labels:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if prompt.answer_prefix and self._can_continue:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return body | self._extra_body

    async def _complete_one(
        self, prompt: Prompt, body: Mapping[str, Any], sampling: Sampling, *, on_text: Callable[[str], None] | None
    ) -> Completion:
        arrived = time.perf_counter()
        async with self._places:
            queued = time.perf_counter() - arrived
            timed = await self._connection.ask(body, timeout_seconds=self._timeout_seconds, on_text=on_text)
        reply = timed.reply
        return Completion(
            text=reply.text if self._can_continue else _remove_prefix(reply.text, prompt.answer_prefix),
            label_logprobs=self._find_label_logprobs(reply, prompt, sampling),
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            cached_tokens=reply.cached_tokens,
            queue_seconds=queued + timed.waited_seconds,
            engine_seconds=timed.engine_seconds,
        )

    def _find_label_logprobs(self, reply: Reply, prompt: Prompt, sampling: Sampling) -> tuple[float, ...] | None:
        if not self._has_logprobs or not sampling.labels:
            return None
        if reply.tokens is None:
            if reply.text:  # without a text, e.g. of a model that declined, there is nothing to report
                logger.warning("%s gives no log-probabilities any more; votes are counted.", self._connection.address)
                self._has_logprobs = False
            return None
        return find_label_logprobs(
            reply.tokens,
            answer_prefix=prompt.answer_prefix,
            can_continue=self._can_continue,
            marker=sampling.marker,
            labels=sampling.labels,
        )


async def _encode_images(prompts: Sequence[Prompt]) -> dict[int, str]:
    """A data URL for every distinct image object, by its id; encoded once and away from the event loop."""
    images = {id(image): image for prompt in prompts for image in prompt.images}
    urls = await asyncio.to_thread(lambda: [encode_image(image) for image in images.values()])
    return dict(zip(images, urls, strict=True))


def _bind_row(on_text: OnText, row: int) -> Callable[[str], None]:
    return lambda text: on_text(row, text)


def _remove_prefix(text: str, prefix: str) -> str:
    """What follows a prefix that the server repeated because it was asked for it in words."""
    return text.lstrip().removeprefix(prefix) if prefix and text.lstrip().startswith(prefix) else text
