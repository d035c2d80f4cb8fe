"""Which engine the settings ask for. No model is loaded: building is not starting."""

import pytest

from genrm.engines.in_process import InProcessEngine
from genrm.engines.openai_server import OpenAIEngine
from genrm.errors import ModelLoadError
from service.engine_choice import build_engine
from service.errors import StartError
from service.metrics import Metrics
from service.settings import load_settings


def test_without_a_model_the_shipped_judge_is_taken() -> None:
    engine = build_engine(load_settings(), Metrics())
    assert isinstance(engine, InProcessEngine)
    assert engine.model.rsplit("/", 1)[-1] == "judge"


def test_a_model_with_an_adapter_is_named_after_both() -> None:
    engine = build_engine(load_settings(model="some/model", adapter="some/adapter"), Metrics())
    assert engine.model == "some/model+some/adapter"


async def test_a_model_folder_that_is_missing_is_told_at_the_start() -> None:
    engine = build_engine(load_settings(model="./no-such-folder"), Metrics())
    with pytest.raises(ModelLoadError, match="no-such-folder"):
        await engine.start()


def test_a_server_s_url_is_an_engine_elsewhere() -> None:
    settings = load_settings(engine_url="http://127.0.0.1:9/v1", model="some/model", engine_api_key="key")
    engine = build_engine(settings, Metrics())
    assert isinstance(engine, OpenAIEngine)
    assert engine.model == "some/model"


def test_an_adapter_for_a_server_is_refused() -> None:
    with pytest.raises(StartError, match="the server loads its own"):
        build_engine(load_settings(engine_url="http://127.0.0.1:9/v1", adapter="x"), Metrics())


@pytest.mark.parametrize("url", ["vllm", "http://h:abc/v1", "http://h:99999/v1", f"http://{'ä' * 70}/v1"])
def test_a_url_that_is_none_is_refused_with_its_setting(url: str) -> None:
    with pytest.raises(StartError, match=f"GENRM_ENGINE_URL: '{url}' is no address"):
        build_engine(load_settings(engine_url=url), Metrics())
