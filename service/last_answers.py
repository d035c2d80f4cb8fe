"""From SIGTERM on, every answer says that it is the last of its connection (`Connection: close`).

A client that keeps connections open would otherwise send its next request over one that the stopping process is about
to close, and could not know whether that request was begun.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.lifecycle import Lifecycle


class LastAnswers:
    """ASGI middleware, outside of all that answers. lifecycle: knows whether the service is stopping."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and mark its answer if the service is stopping by then."""

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start" and self._lifecycle.phase == "stopping":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_marked if scope["type"] == "http" else send)
