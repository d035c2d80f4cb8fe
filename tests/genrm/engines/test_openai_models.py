"""Several models of one server: each is asked for by its name and has its own abilities."""

import json
from typing import Any

import httpx
from PIL import Image

from genrm.engines.contract import MultiModelEngine, Prompt, Sampling
from genrm.engines.openai_server import OpenAIEngine

PROMPT = Prompt(system="s", images=(Image.new("RGB", (8, 8)),), shared="q", tail="t", answer_prefix="Verdict:")


async def test_a_model_of_the_server_is_asked_for_by_its_name_through_the_same_connection() -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "first"}, {"id": "second"}]})
        asked.append(body := json.loads(request.content))
        top = [{"token": f" {label}", "logprob": -1.0} for label in ("First", "Second")]
        tokens = [{"token": " First", "logprob": -1.0, "top_logprobs": top}]
        choice = {
            "message": {"role": "assistant", "content": " First"},
            "finish_reason": "stop",
            "logprobs": {"content": tokens} if body["model"] == "first" else None,
        }
        return httpx.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    engine = OpenAIEngine("http://model.test/v1", "first", transport=httpx.MockTransport(answer))
    await engine.start()
    assert isinstance(engine, MultiModelEngine)
    assert list(await engine.list_models()) == ["first", "second"]
    second = engine.for_model("second")
    assert (engine.model, second.model) == ("first", "second")
    del asked[:]
    for each in (engine, second):
        await each.complete([PROMPT], Sampling())
    assert [body["model"] for body in asked] == ["first", "second"]
    # The second gave no log-probabilities, which says nothing of the first.
    assert (engine.has_logprobs, second.has_logprobs) == (True, False)
    await engine.close()
