"""The model that a job asks: in this process, or behind an OpenAI-compatible server."""

from pydantic import Field

from genrm.engines.contract import Engine
from genrm.shipped import base_folder
from training.jobs.config import Section


class EngineChoice(Section):
    """Which model is asked, and where it runs."""

    model: str | None = Field(None, description="Folder or hub id; default: the shipped base.")
    adapter: str | None = Field(None, description="PEFT adapter of the model.")
    url: str | None = Field(None, description="OpenAI-compatible server that runs the model, e.g. vLLM.")
    max_batch_tokens: int = Field(32_768, ge=256, description="Tokens computed together; lower it for memory.")
    readings_per_second: float = Field(
        80.0, gt=0, description="Used by --dry-run only; the default is the pocket models' on two CPU cores."
    )

    @property
    def model_name(self) -> str:
        """The model, the default filled in."""
        return self.model or str(base_folder())


def open_engine(choice: EngineChoice, *, adapter: str | None = None) -> Engine:
    """The engine, not started yet. adapter: in place of the one chosen. Raises ModelLoadError at its start."""
    if choice.url is not None:
        from genrm.engines.openai_server import OpenAIEngine

        return OpenAIEngine(choice.url, choice.model)
    from genrm.engines.in_process import InProcessEngine

    return InProcessEngine(
        choice.model_name, adapter=adapter or choice.adapter, max_batch_tokens=choice.max_batch_tokens
    )
