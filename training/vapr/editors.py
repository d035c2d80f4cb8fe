"""The contract of everything that makes wrong answers, and the settings by which one is chosen.

An editor gets requests and answers each with texts that it proposes, and with what became of the replies that hold no
text. It does not judge its own work: limits, style, truth and balance are looked at by `training.vapr.making`, the same
for all editors.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from PIL.Image import Image
from pydantic import Field, model_validator

from genrm.engines.contract import Engine
from genrm.errors import GenRMError, ModelLoadError
from training.engines import EngineChoice
from training.jobs.config import Section

ReplyFate = Literal["no candidate", "editor refused", "no edit in the reply"]
"""Why a reply proposes nothing: the editor knows no such error here, declined, or wrote something else."""


class MissingKeyError(GenRMError, KeyError):
    """The environment variable that should hold the endpoint's key is not set. Set it, or drop the setting."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class EditRequest:
    """A reference to be made wrong. seed: of this attempt; another one gives other texts."""

    question: str
    reference: str
    kind: str
    images: tuple[Image, ...]
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """Texts that may become the rejected answer, best first if the editor knows; and the fates of other replies."""

    texts: tuple[str, ...] = ()
    fates: tuple[ReplyFate, ...] = ()


class Editor(Protocol):
    """Makes wrong answers out of right ones."""

    @property
    def name(self) -> str:
        """What rows say of who made their rejected answer."""

    def list_kinds(self, question: str, reference: str, *, most_added_words: int) -> Sequence[str]:
        """Kinds of error that may be asked for here, at least one."""

    async def start(self) -> None:
        """Load what is needed. Raises ModelLoadError."""

    async def edit(self, requests: Sequence[EditRequest]) -> list[Proposal]:
        """One proposal per request; the same requests give the same proposals. Raises EngineError."""

    async def close(self) -> None:
        """Free what was loaded."""


class EditorChoice(Section):
    """Who edits. `rules` needs no model; `model` runs one in this process (or behind engine.url, in its own words);
    `endpoint` asks an OpenAI-compatible server for JSON of a given schema; `naive` makes the negatives that VaPR is
    compared with, which skip every check.
    """

    kind: Literal["rules", "model", "endpoint", "naive"] = "rules"
    engine: EngineChoice = EngineChoice()
    prompt: Literal["plain", "json"] = Field(
        "json", description="plain: one line, as the shipped base is taught; json: instructions for a general model."
    )
    kind_words: dict[str, str] = Field({}, description="What a plain prompt calls a kind of error, where not its name.")
    candidates: int = Field(1, ge=1, description="Replies sampled per attempt of a model.")
    draws: int = Field(12, ge=1, description="Random draws of the rules per attempt.")
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(512, ge=1)
    api_key_variable: str | None = Field(None, description="Environment variable with the endpoint's key.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "endpoint" and self.engine.url is None:
            raise ValueError("an endpoint needs editor.engine.url, e.g. http://localhost:8001/v1")
        if self.kind == "endpoint" and self.prompt == "plain":
            raise ValueError("an endpoint is asked for JSON; say editor.prompt: json, or editor.kind: model")
        return self


def open_endpoint(choice: EditorChoice, schema: dict[str, object] | None) -> Engine:
    """The server of an endpoint, not started. schema: what its replies must be; None: not asked for."""
    from genrm.engines.openai_server import OpenAIEngine

    assert choice.engine.url is not None
    key = None
    if choice.api_key_variable is not None:
        key = os.environ.get(choice.api_key_variable)
        if not key:
            raise MissingKeyError(
                f"editor.api_key_variable names {choice.api_key_variable}, which is not set. Put the endpoint's key "
                "into that environment variable, or drop the setting."
            )
    form = {"type": "json_schema", "json_schema": {"name": "edit", "strict": True, "schema": schema}}
    extra = None if schema is None else {"response_format": form}
    return OpenAIEngine(choice.engine.url, choice.engine.model, api_key=key, extra_body=extra)


async def start_endpoint(choice: EditorChoice, schema: dict[str, object]) -> tuple[Engine, bool]:
    """The started server, and whether it takes a schema; one that refuses it is asked for JSON in words alone.

    Raises ModelLoadError.
    """
    engine = open_endpoint(choice, schema)
    try:
        await engine.start()
    except ModelLoadError:
        await engine.close()
        plain = open_endpoint(choice, None)
        try:
            await plain.start()
        except ModelLoadError:
            await plain.close()
            raise
        return plain, False
    return engine, True
