"""The engine speaks to servers that report log-probabilities and to servers that do not, and names what goes wrong."""

import asyncio
import json
import math
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from PIL import Image

from genrm.engines.contract import Completion, Prompt, Sampling
from genrm.engines.openai_server import TOP_LOGPROBS, OpenAIEngine
from genrm.errors import ModelLoadError
from genrm.judge import Judge, JudgeOptions
from genrm.prompts import MARKER
from genrm.types import Comparison, Mode, Response

URL = "http://model.test/v1"
KEY = "sk-very-secret"
IMAGE = Image.new("RGB", (8, 8), "plum")
CRITIQUE = "The second response invents a cat. Verdict:"
PROMPT = Prompt(
    system="Judge.", images=(IMAGE,), shared="Question: what?\n", tail="First response: a\nSecond response: b"
)
FAST = Prompt(
    system="Judge.", images=(IMAGE,), shared="Question: what?\n", tail="First response: a", answer_prefix=MARKER
)
PAIR = Comparison(images=(IMAGE,), question="What is it?", response_a="A dog.", response_b="A dog and a cat.")
Answer = Callable[[httpx.Request, dict[str, Any]], httpx.Response | None]


@pytest.fixture(autouse=True)
async def _close_engines(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Close every engine that a test has started, so that none leaves connections behind."""
    engines: list[OpenAIEngine] = []
    start = OpenAIEngine.start

    async def start_and_note(engine: OpenAIEngine) -> None:
        engines.append(engine)
        await start(engine)

    monkeypatch.setattr(OpenAIEngine, "start", start_and_note)
    yield
    for engine in engines:
        await engine.close()


class FakeServer:
    """A chat server in memory that prefers the shorter response, in the manner of vLLM unless told otherwise.

    has_logprobs: False leaves the field out of replies. refused: fields that are answered with HTTP 422, as strict
    servers do. answer: called first with every chat request; what it returns is the answer. models: names offered by
    `/models`. beginning: tokens before the label where the prompt asks in words for an answer that begins so.
    """

    def __init__(
        self,
        *,
        has_logprobs: bool = True,
        refused: tuple[str, ...] = (),
        answer: Answer | None = None,
        models: tuple[str, ...] | None = ("org/judge",),
        beginning: tuple[str, ...] = ("Ver", "dict", ":"),
    ) -> None:
        self.has_logprobs = has_logprobs
        self.refused = refused
        self.answer = answer
        self.models = models
        self.beginning = beginning
        self.requests: list[dict[str, Any]] = []
        self.headers: list[httpx.Headers] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.headers.append(request.headers)
        if request.url.path.endswith("/models"):
            if self.models is None:
                return httpx.Response(404)
            return httpx.Response(200, json={"data": [{"id": name} for name in self.models]})
        body = json.loads(request.content)
        self.requests.append(body)
        if self.answer is not None and (response := self.answer(request, body)) is not None:
            return response
        if unknown := [field for field in self.refused if field in body]:
            return httpx.Response(422, json={"detail": f"Unexpected fields in the request: {unknown}"})
        return self.write(body)

    def write(self, body: dict[str, Any]) -> httpx.Response:
        texts, tokens = self.compose(body)
        finish = "length" if len(texts) > body["max_tokens"] else "stop"
        texts, tokens = texts[: body["max_tokens"]], tokens[: body["max_tokens"]]
        usage = {
            "prompt_tokens": 50,
            "completion_tokens": len(texts),
            "prompt_tokens_details": {"cached_tokens": 40} if self.has_logprobs else None,
        }
        wants_tokens = self.has_logprobs and body.get("logprobs")
        if not body.get("stream"):
            choice = {
                "message": {"role": "assistant", "content": "".join(texts)},
                "logprobs": {"content": tokens} if wants_tokens else None,
                "finish_reason": finish,
            }
            return httpx.Response(200, json={"choices": [choice], "usage": usage})
        events: list[dict[str, Any]] = [{"choices": [{"delta": {"role": "assistant"}}]}]
        for text, token in zip(texts, tokens, strict=True):
            logprobs = {"content": [token]} if wants_tokens else None
            events.append({"choices": [{"delta": {"content": text}, "logprobs": logprobs}]})
        events.append({"choices": [{"delta": {}, "finish_reason": finish}]})
        events.append({"choices": [], "usage": usage})
        lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + ": a comment\n\ndata: [DONE]\n\n"
        return httpx.Response(200, text=lines, headers={"content-type": "text/event-stream"})

    def compose(self, body: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
        user = next(message for message in body["messages"] if message["role"] == "user")["content"][-1]["text"]
        lengths = [len(part) for part in re.findall(r"(?:First|Second) response: (.*)", user)]
        label = " First" if lengths and lengths[0] == min(lengths) else " Second"
        is_continued = body["messages"][-1]["role"] == "assistant"
        texts = [label] if is_continued else [*re.findall(r"\s*\S+", CRITIQUE), label]
        if f"Begin your answer with '{MARKER}'" in user:
            texts = [*self.beginning, label]
        other = " Second" if label == " First" else " First"
        alternatives = [(label, math.log(0.9)), (other, math.log(0.08))]
        return texts, [
            {
                "token": text,
                "logprob": alternatives[0][1] if text == label else -0.1,
                "bytes": list(text.encode()),
                "top_logprobs": [
                    {"token": token, "logprob": logprob, "bytes": list(token.encode())}
                    for token, logprob in (alternatives if text == label else [])
                ],
            }
            for text in texts
        ]


def build_engine(
    server: FakeServer,
    model: str | None = "org/judge",
    *,
    api_key: str | None = KEY,
    extra_body: dict[str, Any] | None = None,
) -> OpenAIEngine:
    return OpenAIEngine(
        URL, model, api_key=api_key, extra_body=extra_body, transport=httpx.MockTransport(server), backoff_seconds=0.001
    )


async def start_engine(
    server: FakeServer,
    model: str | None = "org/judge",
    *,
    api_key: str | None = KEY,
    extra_body: dict[str, Any] | None = None,
) -> OpenAIEngine:
    engine = build_engine(server, model, api_key=api_key, extra_body=extra_body)
    await engine.start()
    server.requests.clear()
    return engine


async def complete_one(engine: OpenAIEngine, prompt: Prompt = PROMPT, sampling: Sampling = Sampling()) -> Completion:  # noqa: B008 - frozen
    return (await engine.complete([prompt], sampling))[0]


class TestStart:
    """It reaches the server, settles on the model and finds out what the server can do."""

    async def test_a_server_that_can_everything_is_asked_once(self) -> None:
        server = FakeServer()
        engine = build_engine(server)
        await engine.start()
        assert (engine.model, engine.has_logprobs) == ("org/judge", True)
        assert len(server.requests) == 1
        assert server.requests[0]["max_tokens"] == 1
        assert server.requests[0]["messages"][1]["content"][0]["type"] == "image_url"

    async def test_a_server_that_leaves_log_probabilities_out_is_one_for_votes(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine = await start_engine(FakeServer(has_logprobs=False))
        assert engine.has_logprobs is False
        assert "votes" in caplog.text

    async def test_a_server_that_refuses_log_probabilities_is_one_for_votes_that_still_continues_answers(self) -> None:
        server = FakeServer(refused=("logprobs",))
        engine = await start_engine(server)
        assert engine.has_logprobs is False
        await complete_one(engine, FAST)
        assert server.requests[0]["messages"][-1]["role"] == "assistant"
        assert "logprobs" not in server.requests[0]

    async def test_a_server_that_continues_no_answer_keeps_its_log_probabilities(self) -> None:
        engine = await start_engine(FakeServer(refused=("continue_final_message",)))
        assert engine.has_logprobs is True

    async def test_a_server_that_refuses_both_is_still_of_use(self) -> None:
        server = FakeServer(refused=("logprobs", "continue_final_message"))
        engine = await start_engine(server)
        assert engine.has_logprobs is False
        assert (await complete_one(engine)).text.endswith("First")

    async def test_a_server_that_samples_only_when_told_to_is_told_and_asked_one_by_one(self) -> None:
        running, most = 0, 0
        server = FakeServer(refused=("logprobs", "continue_final_message"))

        async def serve(request: httpx.Request) -> httpx.Response:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            return await server(request)

        engine = OpenAIEngine(URL, "m", transport=httpx.MockTransport(serve))
        await engine.start()
        server.requests.clear()
        await engine.complete([PROMPT] * 4, Sampling(temperature=1.0, seed=0))
        await engine.complete([PROMPT], Sampling())
        sampled, greedy = server.requests[:4], server.requests[4]
        assert {json.loads(body["generation_config"])["do_sample"] for body in sampled} == {True}
        assert [body["seed"] for body in sampled] == [0, 1, 2, 3]
        assert "generation_config" not in greedy
        assert most == 1

    @pytest.mark.parametrize(
        "refused", [("logprobs",), ("logprobs", "continue_final_message", "generation_config"), ()]
    )
    async def test_other_servers_are_not_told_how_to_sample(self, refused: tuple[str, ...]) -> None:
        server = FakeServer(refused=refused)
        engine = await start_engine(server)
        await engine.complete([PROMPT], Sampling(temperature=1.0))
        assert "generation_config" not in server.requests[0]

    async def test_the_only_model_offered_is_taken(self) -> None:
        engine = await start_engine(FakeServer(models=("org/only",)), model=None)
        assert engine.model == "org/only"

    @pytest.mark.parametrize(
        ("models", "names"),
        [(("org/a", "org/b"), "org/a, org/b"), ((), "none that it lists"), (None, "none that it lists")],
    )
    async def test_a_choice_of_models_is_left_to_the_operator(self, models: tuple[str, ...] | None, names: str) -> None:
        with pytest.raises(ModelLoadError, match=f"offers {names}. Name one"):
            await build_engine(FakeServer(models=models), model=None).start()

    async def test_a_server_that_refuses_everything_is_named_with_what_to_check(self) -> None:
        with pytest.raises(ModelLoadError, match=r"model\.test/v1 refuses even a plain question .* vision-language"):
            await build_engine(FakeServer(refused=("messages",))).start()

    async def test_nobody_at_the_address_is_named_with_the_remedy(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
            engine = OpenAIEngine(f"http://user:pw@127.0.0.1:{taken.getsockname()[1]}", "m", api_key=KEY)
            with pytest.raises(ModelLoadError, match=r"http://127\.0\.0\.1:\d+/v1 .*nothing answers there") as caught:
                await engine.start()
        assert "GENRM_ENGINE_URL" in str(caught.value)
        assert "pw" not in str(caught.value)

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_refused_key_is_not_repeated(self, status: int, caplog: pytest.LogCaptureFixture) -> None:
        def refuse(_: httpx.Request, __: dict[str, Any]) -> httpx.Response:
            return httpx.Response(status, json={"error": {"message": f"Bad key {KEY}"}})

        with pytest.raises(ModelLoadError, match="refused the API key") as caught:
            await build_engine(FakeServer(answer=refuse)).start()
        assert KEY not in str(caught.value)
        assert KEY not in caplog.text
        assert "Bad key …" in caplog.text

    async def test_an_unknown_model_is_named(self) -> None:
        server = FakeServer(answer=lambda _, __: httpx.Response(404, json={"message": "no such model"}))
        with pytest.raises(ModelLoadError, match="no model 'org/judge'"):
            await build_engine(server).start()


class TestRequests:
    """What is sent."""

    async def test_the_request_has_images_text_sampling_and_log_probabilities(self) -> None:
        server = FakeServer()
        engine = await start_engine(server, extra_body={"chat_template_kwargs": {"enable_thinking": False}})
        await complete_one(engine, sampling=Sampling(temperature=0.7, top_p=0.9, seed=5, max_tokens=77))
        body = server.requests[0]
        assert body["messages"][1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
        assert (body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == ("org/judge", 77, 0.7, 0.9)
        assert (body["logprobs"], body["top_logprobs"], body["seed"]) == (True, TOP_LOGPROBS, 5)
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert "continue_final_message" not in body
        assert server.headers[-1]["authorization"] == f"Bearer {KEY}"

    async def test_without_a_key_nothing_is_authorised(self) -> None:
        server = FakeServer()
        await start_engine(server, api_key=None)
        assert "authorization" not in server.headers[-1]

    async def test_every_row_has_a_seed_of_its_own_and_greedy_ones_none(self) -> None:
        server = FakeServer()
        engine = await start_engine(server)
        await engine.complete([PROMPT] * 3, Sampling(temperature=1.0, seed=10))
        assert sorted(body["seed"] for body in server.requests) == [10, 11, 12]
        server.requests.clear()
        await engine.complete([PROMPT], Sampling(temperature=0.0, seed=10))
        assert "seed" not in server.requests[0]

    async def test_a_seed_never_leaves_the_range_of_servers(self) -> None:
        server = FakeServer()
        engine = await start_engine(server)
        await engine.complete([PROMPT] * 2, Sampling(temperature=1.0, seed=2**63 - 1))
        assert sorted(body["seed"] for body in server.requests) == [0, 2**63 - 1]

    async def test_a_started_answer_is_continued(self) -> None:
        server = FakeServer()
        completion = await complete_one(await start_engine(server), FAST, Sampling(max_tokens=1))
        assert completion.text == " First"
        assert completion.label_logprobs == pytest.approx((math.log(0.9), math.log(0.08)))
        assert server.requests[0]["continue_final_message"] is True
        assert server.requests[0]["add_generation_prompt"] is False

    async def test_a_prefix_that_was_asked_for_in_words_is_not_repeated_in_the_completion(self) -> None:
        def answer(_: httpx.Request, body: dict[str, Any]) -> httpx.Response | None:
            message = {"role": "assistant", "content": "\nVerdict: Second"}
            return None if body["max_tokens"] == 1 else httpx.Response(200, json={"choices": [{"message": message}]})

        engine = await start_engine(FakeServer(refused=("logprobs", "continue_final_message"), answer=answer))
        assert (await complete_one(engine, FAST, Sampling(max_tokens=8))).text == " Second"

    async def test_plain_generation_asks_for_no_log_probabilities(self) -> None:
        server = FakeServer()
        engine = await start_engine(server)
        assert (await complete_one(engine, sampling=Sampling(labels=()))).label_logprobs is None
        assert "logprobs" not in server.requests[0]

    async def test_no_more_requests_are_under_way_than_allowed(self) -> None:
        running, most = 0, 0

        async def serve(request: httpx.Request) -> httpx.Response:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.002)
            running -= 1
            return await FakeServer()(request)

        engine = OpenAIEngine(URL, "m", max_requests=3, transport=httpx.MockTransport(serve))
        await engine.start()
        completions = await engine.complete([PROMPT] * 9, Sampling())
        assert most == 3
        assert max(completion.queue_seconds for completion in completions) > 0


class TestReplies:
    """What is made of the answers."""

    async def test_text_probabilities_and_usage_are_read(self) -> None:
        completion = await complete_one(await start_engine(FakeServer()))
        assert completion.text == f"{CRITIQUE} First"
        assert completion.label_logprobs == pytest.approx((math.log(0.9), math.log(0.08)))
        assert completion.finish_reason == "stop"
        assert (completion.prompt_tokens, completion.completion_tokens, completion.cached_tokens) == (50, 8, 40)
        assert completion.engine_seconds > 0

    async def test_a_cut_text_has_no_label_probabilities(self) -> None:
        completion = await complete_one(await start_engine(FakeServer()), sampling=Sampling(max_tokens=4))
        assert completion.label_logprobs is None
        assert completion.finish_reason == "length"

    async def test_streamed_text_adds_up_and_the_completion_is_the_same(self) -> None:
        engine = await start_engine(FakeServer())
        pieces: dict[int, list[str]] = {0: [], 1: []}
        streamed = await engine.complete([PROMPT, FAST], Sampling(), on_text=lambda row, text: pieces[row].append(text))
        whole = await engine.complete([PROMPT, FAST], Sampling())
        assert ["".join(pieces[row]) for row in (0, 1)] == [completion.text for completion in streamed]
        assert len(pieces[0]) == 8
        for one, two in zip(streamed, whole, strict=True):
            assert (one.text, one.label_logprobs, one.finish_reason) == (
                two.text,
                two.label_logprobs,
                two.finish_reason,
            )
            assert (one.prompt_tokens, one.completion_tokens) == (two.prompt_tokens, two.completion_tokens)

    async def test_log_probabilities_that_stop_coming_turn_the_engine_to_votes(self) -> None:
        server = FakeServer()
        engine = await start_engine(server)
        server.has_logprobs = False
        assert (await complete_one(engine)).label_logprobs is None
        assert engine.has_logprobs is False

    @pytest.mark.parametrize(
        "payload",
        [
            {"choices": []},
            {"choices": [{"message": {"content": None}, "logprobs": {"content": None}, "finish_reason": "stop"}]},
        ],
    )
    async def test_an_answer_without_a_text_says_nothing_about_log_probabilities(self, payload: object) -> None:
        server = FakeServer()
        engine = await start_engine(server)
        server.answer = lambda _, __: httpx.Response(200, json=payload)
        assert (await complete_one(engine)).label_logprobs is None
        server.answer = None
        assert engine.has_logprobs is True
        assert (await complete_one(engine)).label_logprobs is not None


class TestJudging:
    """A judge on such a server."""

    @pytest.mark.parametrize("mode", ["critique", "fast"])
    @pytest.mark.parametrize(
        "server",
        [
            FakeServer(),
            FakeServer(refused=("continue_final_message",)),
            FakeServer(refused=("continue_final_message",), beginning=()),
        ],
        ids=["continues", "repeats the marker", "leaves the marker out"],
    )
    async def test_with_log_probabilities_the_verdict_is_a_probability(self, mode: Mode, server: FakeServer) -> None:
        judge = Judge(await start_engine(server))
        straight, swapped = [await judge.judge(pair, JudgeOptions(mode=mode)) for pair in (PAIR, PAIR.swap())]
        assert (straight.preferred, straight.probability_source, straight.consistent) == ("A", "logprobs", True)
        assert straight.probabilities is not None
        assert swapped.probabilities is not None
        assert pytest.approx(0.9 / 0.98) == straight.probabilities.A
        assert straight.probabilities.A == swapped.probabilities.B
        assert straight.label_mass == pytest.approx(0.98)

    @pytest.mark.parametrize("mode", ["critique", "fast"])
    @pytest.mark.parametrize("refused", [("logprobs",), ("logprobs", "continue_final_message")])
    async def test_without_them_it_is_a_share_of_votes(self, mode: Mode, refused: tuple[str, ...]) -> None:
        server = FakeServer(refused=refused)
        verdict = await Judge(await start_engine(server)).judge(PAIR, JudgeOptions(mode=mode))
        assert (verdict.preferred, verdict.probability_source) == ("A", "votes")
        assert len(server.requests) == 10
        assert verdict.probabilities is not None
        assert pytest.approx(5.5 / 6) == verdict.probabilities.A

    async def test_critiques_are_streamed(self) -> None:
        pieces: dict[Response, str] = {"A": "", "B": ""}

        def collect(first: Response, text: str) -> None:
            pieces[first] += text

        await Judge(await start_engine(FakeServer())).judge(PAIR, on_text=collect)
        assert pieces == {"A": f"{CRITIQUE} First", "B": f"{CRITIQUE} Second"}
