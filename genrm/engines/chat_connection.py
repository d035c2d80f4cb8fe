"""Talking to an OpenAI-compatible server: one request, its retries, its deadline, its stream, and what its refusals
mean.

Every failure leaves here as an `EngineError` (or `InputTooLongError`) that names the address and the remedy. The
server's own words may repeat parts of a prompt, so they are logged, shortened and without the key, and never passed
on.
"""

import asyncio
import email.utils
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import ValidationError

from genrm.engines.chat_wire import ChatEvent, Reply, merge_events
from genrm.errors import EngineError, InputTooLongError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_RETRY_WAIT_SECONDS = 30.0
_BUSY = frozenset({429, 503})
_SIGNS_OF_LENGTH = (
    "context length",
    "context window",
    "too long",
    "maximum model length",
    "max_model_len",
)
_MAX_LOGGED_CHARACTERS = 200
_END_OF_STREAM = "[DONE]"


class RefusedError(EngineError):
    """The server will not do what was asked (HTTP 400 or 422). Ask for less: it may not know a field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedReply:
    """A reply and the seconds it took. waited_seconds: for a busy server. engine_seconds: for the request that
    succeeded.
    """

    reply: Reply
    waited_seconds: float
    engine_seconds: float


class ChatConnection:
    """Connections to one server.

    base_url: up to and including the version; a bare host gets `/v1`. api_key: sent as a bearer token, shown nowhere.
    max_requests: connections at once. max_retries: attempts after the first when the server is busy (429, 503) or
    hangs up before it answers, waiting as long as `Retry-After` says, at most 30 s, else backoff_seconds × 2^attempt.
    transport: in place of the network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        max_requests: int,
        max_retries: int,
        backoff_seconds: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url = _complete_url(base_url)
        self.address = _hide_credentials(url)
        self._api_key = api_key
        self._max_retries = max_retries
        self._backoff_seconds = backoff_seconds
        self._client = httpx.AsyncClient(
            base_url=self.address if api_key else url,  # a key goes before a name and password in the address
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(
                None, connect=CONNECT_TIMEOUT_SECONDS
            ),  # the whole exchange has one deadline, in `ask`
            limits=httpx.Limits(max_connections=max_requests),
            transport=transport,
        )

    async def list_models(self, *, timeout_seconds: float) -> list[str]:
        """Names of the models that the server offers; none if it does not say. Raises EngineError."""
        async with self._name_failures(timeout_seconds):
            response = await self._send("GET", "models", None, stream=False)
            if response.status_code == 404:
                return []
            await self._check(response, model=None)
        try:
            return [str(entry["id"]) for entry in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            return []

    async def ask(
        self, body: Mapping[str, Any], *, timeout_seconds: float, on_text: Callable[[str], None] | None = None
    ) -> TimedReply:
        """One completion.

        body: the request without `stream`. timeout_seconds: for the whole exchange, waiting for a busy server
        included. on_text: gets new text while it is written; the reply is then streamed. Raises RefusedError,
        InputTooLongError or EngineError.
        """
        started = time.perf_counter()
        fields = dict(body)
        if on_text is not None:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        async with self._name_failures(timeout_seconds):
            response, sent = await self._send_until_accepted(fields)
            try:
                await self._check(response, model=str(body.get("model")))
                reply = await self._read(response, on_text)
            finally:
                await response.aclose()
        return TimedReply(reply=reply, waited_seconds=sent - started, engine_seconds=time.perf_counter() - sent)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _name_failures(self, timeout_seconds: float) -> AsyncIterator[None]:
        """Keep a deadline, and turn failures of the transport into EngineErrors."""
        try:
            async with asyncio.timeout(timeout_seconds):
                yield
        except TimeoutError:
            raise EngineError(
                f"The model server at {self.address} did not finish within {timeout_seconds:g} s. Send the request "
                "again, lower max_tokens, or give the server more capacity."
            ) from None
        except httpx.ConnectError:
            raise self._describe_unreachable("nothing answers there") from None
        except httpx.RequestError as error:  # the transport's failures, and an answer whose compression is broken
            raise self._describe_unreachable(f"the connection broke ({type(error).__name__})") from None

    async def _send_until_accepted(self, fields: Mapping[str, Any]) -> tuple[httpx.Response, float]:
        """The first answer that does not say "busy", or the last one; and when its request was sent."""
        for attempt in range(self._max_retries + 1):
            is_last = attempt == self._max_retries
            wait = self._backoff_seconds * 2**attempt
            sent = time.perf_counter()
            try:
                response = await self._send("POST", "chat/completions", fields, stream="stream" in fields)
            except httpx.RemoteProtocolError:  # hung up before it answered, e.g. on a connection it had closed as idle
                if is_last:
                    raise
            else:
                if response.status_code not in _BUSY or is_last:
                    return response, sent
                await response.aclose()
                asked = _parse_retry_after(response.headers.get("retry-after", ""))
                wait = wait if asked is None else asked
            await asyncio.sleep(min(wait, MAX_RETRY_WAIT_SECONDS))
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, *, stream: bool) -> httpx.Response:
        return await self._client.send(self._client.build_request(method, path, json=body), stream=stream)

    async def _read(self, response: httpx.Response, on_text: Callable[[str], None] | None) -> Reply:
        if on_text is None:
            return merge_events([self._parse(await response.aread())])
        events: list[ChatEvent] = []
        has_ended = False
        async for data in _iterate_events(response):
            if data == _END_OF_STREAM:
                has_ended = True
                continue
            event = self._parse(data)
            events.append(event)
            has_ended = has_ended or event.finish_reason is not None
            if event.text:
                on_text(event.text)
        reply = merge_events(events or [self._parse("")])
        if not has_ended:
            raise EngineError(
                f"The model server at {self.address} broke off before its answer was complete. Look at its log, then "
                "send the request again."
            )
        return reply

    def _parse(self, data: str | bytes) -> ChatEvent:
        try:
            event = ChatEvent.model_validate_json(data)
        except ValidationError:
            if '"error"' in str(data):
                raise EngineError(
                    f"The model server at {self.address} failed while it wrote its answer. Look at its log, then send "
                    "the request again."
                ) from None
            raise EngineError(
                f"The server at {self.address} answered with something that is no chat completion. Check that the "
                "address is that of an OpenAI-compatible API, up to and including its version."
            ) from None
        return event

    async def _check(self, response: httpx.Response, *, model: str | None) -> None:
        """Return if the server accepted; otherwise say what its status means."""
        if response.is_success:
            return
        await response.aread()
        status, words = response.status_code, self._find_words(response)
        level = logging.INFO if status in {400, 422} else logging.WARNING  # abilities are found out by being refused
        signs = (sign if sign.isprintable() else " " for sign in words)  # line breaks would begin a line of our log
        shown = " ".join("".join(signs).split())[:_MAX_LOGGED_CHARACTERS]
        logger.log(level, "The model server at %s answered HTTP %d: %s", self.address, status, shown)
        if status == 413 or (status in {400, 422} and any(sign in words.lower() for sign in _SIGNS_OF_LENGTH)):
            raise InputTooLongError(
                "The question and both responses with their images do not fit the model's context. Shorten them, lower "
                "max_tokens, or run the model server with a longer context."
            )
        if status in {400, 422}:
            raise RefusedError(
                f"The model server at {self.address} refused the request (HTTP {status}); its words are in the log."
            )
        if status in {401, 403}:
            raise EngineError(
                f"The model server at {self.address} refused the API key (HTTP {status}). Give the right one."
            )
        if status == 404:
            raise EngineError(
                f"The model server at {self.address} has no model '{model}' or no chat completions (HTTP 404). Correct "
                "the model's name or the address."
            )
        if status in _BUSY:
            raise EngineError(
                f"The model server at {self.address} is busy (HTTP {status}) and was asked {self._max_retries + 1} "
                "times. Send the request again later."
            )
        raise EngineError(
            f"The model server at {self.address} failed (HTTP {status}). Look at its log, then send the request again."
        )

    def _find_words(self, response: httpx.Response) -> str:
        """The server's message: only where it stands in a known place, without the key."""
        try:
            payload = response.json()
            words = payload.get("error", payload)
            words = words.get("message", words.get("detail")) if isinstance(words, dict) else words
        except (ValueError, AttributeError):
            words = None
        words = words if isinstance(words, str) else "(no message)"
        return words.replace(self._api_key, "…") if self._api_key else words

    def _describe_unreachable(self, what: str) -> EngineError:
        return EngineError(
            f"The model server at {self.address} cannot be used: {what}. Start it, or correct the address "
            "(GENRM_ENGINE_URL)."
        )


async def _iterate_events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of server-sent events, up to and including the end mark."""
    async for line in response.aiter_lines():
        data = line.removeprefix("data:").strip()
        if data and line.startswith("data:"):
            yield data
        if data == _END_OF_STREAM:
            return


def _parse_retry_after(value: str) -> float | None:
    """Seconds from a `Retry-After` header, which holds seconds or a date; None if it holds neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _complete_url(base_url: str) -> str:
    url = base_url.strip().rstrip("/").removesuffix("/chat/completions")
    if not _is_address(url):
        raise ValueError(
            f"'{_hide_credentials(url)}' is no address of a model server. Give one such as http://localhost:8001/v1."
        )
    return url if urlsplit(url).path else url + "/v1"


def _is_address(url: str) -> bool:
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (httpx.InvalidURL, ValueError):  # among others a port that is no number, or above 65535
        return False


def _hide_credentials(url: str) -> str:
    """The address without user name, password and query, fit for messages."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets of an address that are not closed
        return url.rpartition("@")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
