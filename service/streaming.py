"""A judgement as server-sent events: the critique while it is written, the verdict last.

Events, each with one JSON object as data: `critique` (`CritiqueDelta`, any number; the two orders interleave), then
exactly one of `verdict` (`JudgeResponse`, the same body as without streaming) or `error` (`ErrorBody`). The status line
waits for the first event or the first comment line, whichever comes first: what fails before that has its HTTP status
as without streaming, what fails later is the event `error`. Comment lines keep idle connections open.
"""

import asyncio
import time

from pydantic import BaseModel
from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from genrm.types import Response
from service.connection import cancel_all, wait_for_disconnect
from service.error_responses import note_failure, render_error
from service.errors import ClientGoneError
from service.judging import Judging
from service.schemas import CritiqueDelta

_KEEP_ALIVE = b": still judging\n\n"
_Events = asyncio.Queue[bytes | Exception | None]
"""Rendered events, or what failed; None at the end, and when the client has left."""


class VerdictStream(HttpResponse):
    """Runs a judgement and sends its events. The judgement is cancelled when the client hangs up."""

    media_type = "text/event-stream"

    def __init__(self, judging: Judging) -> None:
        self._judging = judging
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the judgement ends or the client leaves. Raises what fails before the first event."""
        events: _Events = asyncio.Queue()
        judging = asyncio.ensure_future(self._write_events(events))
        leaving = asyncio.ensure_future(wait_for_disconnect(receive))
        leaving.add_done_callback(lambda _: events.put_nowait(None))
        try:
            event = await self._next_event(events)
            if isinstance(event, Exception):
                raise event
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while event is not None:
                await send({"type": "http.response.body", "body": self._render(event), "more_body": True})
                event = await self._next_event(events)
            if judging.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                note_failure(ClientGoneError("The client left the stream."), self._judging.record)
        except OSError:  # the connection broke while we wrote
            note_failure(ClientGoneError("The client left the stream."), self._judging.record)
        finally:
            await cancel_all(judging, leaving)

    def _render(self, event: bytes | Exception) -> bytes:
        if isinstance(event, Exception):
            return b"event: error\ndata: " + render_error(note_failure(event, self._judging.record)).encode() + b"\n\n"
        return event

    async def _next_event(self, events: _Events) -> bytes | Exception | None:
        """The next event; a comment when there is none for a while; None at the end."""
        try:
            async with asyncio.timeout(self._judging.settings.keep_alive_seconds):
                return await events.get()
        except TimeoutError:
            return _KEEP_ALIVE

    async def _write_events(self, events: _Events) -> None:
        loop = asyncio.get_running_loop()
        record, metrics = self._judging.record, self._judging.metrics
        wrote = False

        def put_critique(delta: CritiqueDelta) -> None:
            nonlocal wrote
            if not wrote:
                metrics.time_to_first_token.observe(time.perf_counter() - record.started)
                wrote = True
            events.put_nowait(render_event("critique", delta))

        def on_critique(first: Response, text: str) -> None:
            if text and not loop.is_closed():
                loop.call_soon_threadsafe(put_critique, CritiqueDelta(first=first, delta=text))

        try:
            verdict = await self._judging.run(on_critique)
            await asyncio.sleep(0)  # lets the deltas through that were handed to the loop just before
            events.put_nowait(render_event("verdict", verdict))
        except Exception as error:  # noqa: BLE001 - any failure is told: as the answer, or as the last event
            events.put_nowait(error)
        events.put_nowait(None)


def render_event(name: str, data: BaseModel) -> bytes:
    """One server-sent event. JSON escapes line breaks, so the data is one line."""
    return f"event: {name}\ndata: {data.model_dump_json()}\n\n".encode()
