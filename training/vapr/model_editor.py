"""Editors that ask a model: one in this process, or one behind an OpenAI-compatible endpoint with structured output."""

import logging
from collections.abc import Sequence

from genrm.engines.contract import Engine, Sampling
from training.vapr.editors import EditorChoice, EditRequest, Proposal, ReplyFate, start_endpoint
from training.vapr.kinds import list_kinds
from training.vapr.replies import SCHEMA, NoEdit, json_prompt, plain_prompt, read_json_edit, read_plain_edit

_log = logging.getLogger(__name__)


class ModelEditor:
    """Asks a model. engine: it, which whoever gives it starts and closes; None: the endpoint of `choice` is opened."""

    def __init__(self, engine: Engine | None, choice: EditorChoice) -> None:
        self._engine, self._choice, self._is_own = engine, choice, engine is None

    @property
    def name(self) -> str:
        """The model's name."""
        return self._started.model

    @property
    def _started(self) -> Engine:
        assert self._engine is not None, "the editor was not started"
        return self._engine

    def list_kinds(self, question: str, reference: str, *, most_added_words: int) -> Sequence[str]:
        """By the task; see `training.vapr.kinds`."""
        return list_kinds(question, reference, most_added_words=most_added_words)

    async def start(self) -> None:
        """Reach the endpoint, if there is one. Raises ModelLoadError, MissingKeyError."""
        if self._engine is not None:
            await self._engine.start()
            return
        self._engine, takes_schema = await start_endpoint(self._choice, SCHEMA)
        if not takes_schema:
            _log.warning("%s takes no JSON schema (response_format); it is asked for JSON in words.", self.name)

    async def edit(self, requests: Sequence[EditRequest]) -> list[Proposal]:
        """Several replies per request, all in one call to the engine. Raises EngineError."""
        if not requests:
            return []
        choice, is_plain = self._choice, self._choice.prompt == "plain"
        prompts = [
            plain_prompt(request, choice.kind_words.get(request.kind, request.kind))
            if is_plain
            else json_prompt(request)
            for request in requests
            for _ in range(choice.candidates)
        ]
        sampling = Sampling(
            temperature=choice.temperature,
            top_p=choice.top_p,
            seed=requests[0].seed,
            max_tokens=choice.max_tokens,
            labels=(),
        )
        replies = [completion.text for completion in await self._started.complete(prompts, sampling)]
        return [
            self._read(request, replies[i * choice.candidates : (i + 1) * choice.candidates])
            for i, request in enumerate(requests)
        ]

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        if self._is_own and self._engine is not None:
            await self._engine.close()

    def _read(self, request: EditRequest, replies: Sequence[str]) -> Proposal:
        texts: list[str] = []
        fates: list[ReplyFate] = []
        for reply in replies:
            is_plain = self._choice.prompt == "plain"
            read = read_plain_edit(reply, request.reference) if is_plain else read_json_edit(reply)
            if isinstance(read, NoEdit):
                fates.append(read.fate)
            elif read not in texts:
                texts.append(read)
        return Proposal(texts=tuple(texts), fates=tuple(fates))
