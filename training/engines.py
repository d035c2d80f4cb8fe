"""The model that a job asks: in this process, or behind an OpenAI-compatible server."""

import os
from typing import Self

from pydantic import Field, model_validator

from genrm.engines.contract import Engine
from genrm.errors import EngineError
from genrm.shipped import base_folder, policy_folder
from training.jobs.config import Section

HARMLESS = frozenset({"output", "engine.max_batch_tokens", "engine.readings_per_second"})
"""Keys that a resumed job which asks a model may change: they say where and how fast."""


class EngineChoice(Section):
    """Which model is asked, and where it runs."""

    model: str | None = Field(None, description="Folder or hub id; default: the shipped base.")
    adapter: str | None = Field(None, description="PEFT adapter of the model.")
    url: str | None = Field(
        None,
        description="OpenAI-compatible server that runs the model, e.g. vLLM; its key is GENRM_ENGINE_API_KEY, if any.",
    )
    max_batch_tokens: int = Field(32_768, ge=256, description="Tokens computed together; lower it for memory.")
    readings_per_second: float = Field(
        80.0, gt=0, description="Used by --dry-run only; the default is the pocket models' on two CPU cores."
    )

    @model_validator(mode="after")
    def _check_adapter(self) -> Self:
        if self.url is not None and self.adapter is not None:
            raise ValueError(
                "adapter has no effect on a model behind url, whose server loads its own; name it as model"
            )
        return self

    @property
    def model_name(self) -> str:
        """The model, the default filled in."""
        return self.model or str(base_folder())


class PolicyChoice(EngineChoice):
    """The same for a policy: a model that answers, and is trained on preferences or measured."""

    model: str | None = Field(None, description="Folder or hub id; default: the shipped policy.")

    @property
    def model_name(self) -> str:
        """The model, the default filled in."""
        return self.model or str(policy_folder())


def open_engine(choice: EngineChoice) -> Engine:
    """The engine, not started yet. Raises ModelLoadError at its start."""
    if choice.url is not None:
        from genrm.engines.openai_server import OpenAIEngine

        return OpenAIEngine(choice.url, choice.model, api_key=os.environ.get("GENRM_ENGINE_API_KEY"))
    from genrm.engines.in_process import InProcessEngine

    return InProcessEngine(
        choice.model_name,
        adapter=choice.adapter,
        max_batch_tokens=choice.max_batch_tokens,
        max_prefix_tokens=0,  # what a resumed run samples must not depend on what the broken-off one had computed
    )


def require_probabilities(engine: Engine) -> None:
    """Raise EngineError unless a started engine tells how probable its verdicts are."""
    if not engine.has_logprobs:
        raise EngineError(
            f"{engine.model} is served without log-probabilities, and critiques are chosen by the probability of the "
            "verdict behind them. Serve it with vLLM or SGLang, or run it in this process (drop engine.url)."
        )
