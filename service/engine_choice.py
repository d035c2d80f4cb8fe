"""Which engine the settings ask for: the model in this process, or one behind an OpenAI-compatible server."""

from genrm.engines.contract import Engine
from genrm.shipped import judge_folder
from service.errors import StartError
from service.metrics import Metrics
from service.settings import Settings


def build_engine(settings: Settings, metrics: Metrics) -> Engine:
    """The engine that the settings describe, not started yet; it reports its work to `metrics`. Raises StartError if
    they contradict each other.
    """
    if settings.engine_url is not None:
        return _build_remote(settings, settings.engine_url)
    from genrm.engines.in_process import InProcessEngine  # imports torch: seconds, and only where it is needed

    return InProcessEngine(
        settings.model or str(judge_folder()),
        adapter=settings.adapter,
        device=settings.device,
        dtype=settings.dtype,
        attention=settings.attention,
        max_batch_tokens=settings.max_batch_tokens,
        max_prefix_tokens=settings.max_prefix_tokens,
        on_batch=metrics.observe_batch,
    )


def _build_remote(settings: Settings, url: str) -> Engine:
    from genrm.engines.openai_server import OpenAIEngine

    if settings.adapter is not None:
        raise StartError(
            f"An adapter ({settings.adapter!r}) is given together with GENRM_ENGINE_URL; the server loads its own. "
            "Drop one, and name the adapter's model on the server with --model."
        )
    key = settings.engine_api_key
    try:
        return OpenAIEngine(
            url,
            settings.model,
            api_key=key.get_secret_value() if key else None,
            max_requests=settings.engine_max_requests,
        )
    except ValueError as error:
        raise StartError(f"GENRM_ENGINE_URL: {error}") from None
