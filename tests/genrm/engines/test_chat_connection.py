"""Failures of a model server are errors that name address and remedy; what may pass is tried again; secrets stay
inside.
"""

import asyncio
import email.utils
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from genrm.engines.chat_connection import ChatConnection, RefusedError, TimedReply
from genrm.errors import EngineError, InputTooLongError

URL = "http://user:pw@model.test/v1"
ADDRESS = r"http://model\.test/v1"
KEY = "sk-very-secret"
WHOLE = {"choices": [{"message": {"role": "assistant", "content": "A dog."}, "finish_reason": "stop"}]}
Handler = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


@asynccontextmanager
async def connect(
    handler: Handler, *, url: str = URL, api_key: str | None = KEY, max_retries: int = 2, backoff_seconds: float = 0.001
) -> AsyncIterator[ChatConnection]:
    connection = ChatConnection(
        url,
        api_key=api_key,
        max_requests=4,
        max_retries=max_retries,
        backoff_seconds=backoff_seconds,
        transport=httpx.MockTransport(handler),
    )
    try:
        yield connection
    finally:
        await connection.aclose()


async def ask(connection: ChatConnection, *, stream: bool = False, timeout_seconds: float = 60) -> TimedReply:
    on_text = (lambda _: None) if stream else None
    return await connection.ask({"model": "org/judge"}, timeout_seconds=timeout_seconds, on_text=on_text)


def answer_in_turn(*answers: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """A server that gives these answers one after the other, then a good one; and the requests it got."""
    left, requests = list(answers), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if not left:
            body = json.loads(request.content)
            delta = {"choices": [{"delta": WHOLE["choices"][0]["message"]}]}
            stream = f"data: {json.dumps(delta)}\n\ndata: [DONE]\n\n"
            return httpx.Response(200, text=stream) if "stream" in body else write(200, WHOLE)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle, requests


def write(status: int, payload: Any, *, retry_after: str | None = None) -> httpx.Response:
    return httpx.Response(status, json=payload, headers={"Retry-After": retry_after} if retry_after else {})


class TestAddress:
    """It is completed where that is safe, and shown without what is secret."""

    @pytest.mark.parametrize(
        ("given", "used"),
        [
            ("http://h:1", "http://h:1/v1"),
            ("http://h:1/", "http://h:1/v1"),
            ("https://h/openai/v1beta/", "https://h/openai/v1beta"),
            ("http://h/v1/chat/completions", "http://h/v1"),
        ],
    )
    async def test_a_bare_host_gets_a_version_and_a_path_is_kept(self, given: str, used: str) -> None:
        handler, requests = answer_in_turn()
        async with connect(handler, url=given) as connection:
            await ask(connection)
        assert str(requests[0].url) == f"{used}/chat/completions"
        assert connection.address == used

    @pytest.mark.parametrize(
        "url", ["", "localhost:8000", "ftp://h/v1", "http:///v1", "//user:pw@h", "http://user:pw@[::1/v1"]
    )
    async def test_what_is_no_address_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError, match="no address of a model server") as caught:
            async with connect(answer_in_turn()[0], url=url):
                pass
        assert "pw" not in str(caught.value)

    @pytest.mark.parametrize(("key", "sent"), [(KEY, f"Bearer {KEY}"), (None, "Basic dXNlcjpwdw==")])
    async def test_a_key_goes_before_credentials_in_the_address_and_neither_is_shown(
        self, key: str | None, sent: str
    ) -> None:
        handler, requests = answer_in_turn()
        async with connect(handler, api_key=key) as connection:
            await ask(connection)
            assert "pw" not in connection.address
        assert requests[0].headers["authorization"] == sent


class TestWaiting:
    """A busy server is asked again, as often and as late as is sensible."""

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_busy_server_is_asked_again(self, status: int, *, stream: bool) -> None:
        handler, requests = answer_in_turn(httpx.Response(status), httpx.Response(status))
        async with connect(handler) as connection:
            timed = await ask(connection, stream=stream)
        assert timed.reply.text == "A dog."
        assert len(requests) == 3
        assert timed.waited_seconds > 0

    @pytest.mark.parametrize(
        "retry_after", ["0", email.utils.formatdate(time.time() - 9, usegmt=True)], ids=["seconds", "date"]
    )
    async def test_the_server_says_how_long_to_wait(self, retry_after: str) -> None:
        handler, _ = answer_in_turn(write(503, {}, retry_after=retry_after))
        async with connect(handler, backoff_seconds=3600) as connection:  # would never end if it were waited for
            assert (await ask(connection)).reply.text

    async def test_a_server_that_stays_busy_is_given_up(self) -> None:
        handler, requests = answer_in_turn(*[write(503, {}, retry_after="soon") for _ in range(9)])
        async with connect(handler, max_retries=2) as connection:
            with pytest.raises(EngineError, match=rf"{ADDRESS} is busy \(HTTP 503\) and was asked 3 times"):
                await ask(connection)
        assert len(requests) == 3

    async def test_a_connection_that_was_closed_as_idle_is_opened_again(self) -> None:
        handler, requests = answer_in_turn(httpx.RemoteProtocolError("Server disconnected"))
        async with connect(handler) as connection:
            assert (await ask(connection)).reply.text
        assert len(requests) == 2

    async def test_a_deadline_ends_a_request_that_never_does(self) -> None:
        async def stall(_: httpx.Request) -> httpx.Response:
            await asyncio.sleep(3600)
            raise AssertionError("nobody waits an hour")

        async with connect(stall) as connection:
            with pytest.raises(EngineError, match=rf"{ADDRESS} did not finish within 0\.02 s"):
                await ask(connection, timeout_seconds=0.02)


class TestFailures:
    """Each has its sentence, and none has the server's or the library's."""

    @pytest.mark.parametrize(
        "failure", [httpx.RemoteProtocolError("secret"), httpx.ReadError("secret"), httpx.ConnectTimeout("secret")]
    )
    async def test_a_broken_connection_is_an_engine_error(self, failure: httpx.TransportError) -> None:
        handler, _ = answer_in_turn(*[failure] * 9)
        async with connect(handler) as connection:
            with pytest.raises(EngineError, match=f"{ADDRESS} cannot be used: the connection broke") as caught:
                await ask(connection)
        assert "secret" not in str(caught.value)

    async def test_nobody_at_the_address_is_not_asked_twice(self) -> None:
        handler, requests = answer_in_turn(httpx.ConnectError("[Errno 111]"))
        async with connect(handler) as connection:
            with pytest.raises(EngineError, match=r"nothing answers there\. Start it, or correct the address"):
                await ask(connection)
        assert len(requests) == 1

    @pytest.mark.parametrize(
        ("status", "payload"),
        [
            (400, {"message": "This model's maximum context length is 4096 tokens."}),
            (400, {"error": {"message": "The input is too long for the model"}}),
            (422, {"detail": "exceeds the context window"}),
            (400, {"message": f"Bad request: {'x' * 300}. The maximum context length is 4096 tokens."}),
            (413, {}),
        ],
    )
    async def test_a_prompt_over_the_context_is_an_input_error(self, status: int, payload: dict[str, Any]) -> None:
        async with connect(answer_in_turn(write(status, payload))[0]) as connection:
            with pytest.raises(InputTooLongError, match="do not fit the model's context"):
                await ask(connection)

    async def test_a_refused_field_is_no_fault_of_the_texts(self) -> None:
        words = "Unsupported parameter: 'max_tokens' is not supported with this model."
        async with connect(answer_in_turn(write(400, {"error": {"message": words}}))[0]) as connection:
            with pytest.raises(RefusedError):
                await ask(connection)

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("status", "sentence"),
        [
            (400, "refused the request"),
            (401, "refused the API key"),
            (403, "refused the API key"),
            (404, "has no model 'org/judge'"),
            (500, "failed"),
            (302, "failed"),
        ],
    )
    async def test_the_server_s_words_are_logged_and_not_passed_on(
        self, status: int, sentence: str, caplog: pytest.LogCaptureFixture, *, stream: bool
    ) -> None:
        words = f"heap at 0x7f, key {KEY} {'x' * 999}"
        async with connect(answer_in_turn(write(status, {"error": {"message": words}}))[0]) as connection:
            with caplog.at_level(logging.INFO), pytest.raises(EngineError, match=sentence) as caught:
                await ask(connection, stream=stream)
        assert "0x7f" not in str(caught.value)
        assert "0x7f" in caplog.text
        assert "x" * 300 not in caplog.text
        assert KEY not in caplog.text
        assert isinstance(caught.value, RefusedError) == (status == 400)

    async def test_the_server_s_words_stay_on_one_line_of_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        words = "No.\r\n2026-01-01 [info] request\u2028status=200\x1b[2K"
        async with connect(answer_in_turn(write(400, {"error": {"message": words}}))[0]) as connection:
            with caplog.at_level(logging.INFO), pytest.raises(RefusedError):
                await ask(connection)
        assert caplog.messages[-1].endswith("answered HTTP 400: No. 2026-01-01 [info] request status=200 [2K")

    @pytest.mark.parametrize("payload", [None, [], "no", {"detail": [{"input": "the whole prompt"}]}, {"error": 3}])
    async def test_words_in_an_unknown_place_are_not_logged(
        self, payload: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connect(answer_in_turn(write(422, payload))[0]) as connection:
            with caplog.at_level(logging.INFO), pytest.raises(RefusedError):
                await ask(connection)
        assert "HTTP 422: (no message)" in caplog.text

    @pytest.mark.parametrize("content", [b"", b"<html>", b"{}", b'{"choices": 1}', b"\xff\xfe"])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_an_answer_that_is_no_chat_completion_is_named(self, content: bytes, *, stream: bool) -> None:
        handler, _ = answer_in_turn(httpx.Response(200, content=b"data: " * stream + content))
        async with connect(handler) as connection:
            with pytest.raises(EngineError, match=r"no chat completion\. Check that the address"):
                await ask(connection, stream=stream)

    async def test_an_answer_whose_compression_is_broken_is_an_engine_error(self) -> None:
        broken = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))
        async with connect(answer_in_turn(broken)[0]) as connection:
            with pytest.raises(EngineError, match=f"{ADDRESS} cannot be used"):
                await ask(connection)

    async def test_a_stream_that_breaks_off_is_an_engine_error(self) -> None:
        start = json.dumps({"choices": [{"delta": {"content": "A "}}]})
        async with connect(answer_in_turn(httpx.Response(200, text=f"data: {start}\n\n"))[0]) as connection:
            with pytest.raises(EngineError, match=f"{ADDRESS} broke off before its answer was complete"):
                await ask(connection, stream=True)

    @pytest.mark.parametrize("end", ['{"choices": [{"delta": {}, "finish_reason": "length"}]}', "[DONE]"])
    async def test_a_stream_ends_with_a_reason_or_with_the_end_mark(self, end: str) -> None:
        start = json.dumps({"choices": [{"delta": {"content": "A "}}]})
        stream = httpx.Response(200, text=f"data: {start}\n\ndata: {end}\n\n")
        async with connect(answer_in_turn(stream)[0]) as connection:
            assert (await ask(connection, stream=True)).reply.text == "A "

    async def test_an_error_in_the_middle_of_a_stream_is_an_engine_error(self) -> None:
        start = json.dumps({"choices": [{"delta": {"content": "A "}}]})
        handler, _ = answer_in_turn(httpx.Response(200, text=f'data: {start}\n\ndata: {{"error": "cuda 0x7f"}}\n\n'))
        async with connect(handler) as connection:
            with pytest.raises(EngineError, match="failed while it wrote") as caught:
                await ask(connection, stream=True)
        assert "0x7f" not in str(caught.value)


class TestModels:
    """The list of models is a help and no condition."""

    async def test_the_names_are_listed(self) -> None:
        async with connect(lambda _: write(200, {"data": [{"id": "a"}, {"id": "b"}]})) as connection:
            assert await connection.list_models(timeout_seconds=9) == ["a", "b"]

    @pytest.mark.parametrize(
        "answer", [httpx.Response(404), httpx.Response(200, text="ok"), write(200, {"data": [{}]})]
    )
    async def test_a_server_that_lists_none_has_none(self, answer: httpx.Response) -> None:
        async with connect(lambda _: answer) as connection:
            assert await connection.list_models(timeout_seconds=9) == []

    async def test_a_refusal_is_an_error(self) -> None:
        async with connect(lambda _: httpx.Response(401)) as connection:
            with pytest.raises(EngineError, match="API key"):
                await connection.list_models(timeout_seconds=9)
