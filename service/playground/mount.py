"""The playground as an ASGI application: who gets in, which of Gradio's addresses exist, and what it is before it is
built.

Where the service has API keys, nothing here is to be had without one, uploads included: a page of its own asks for it
and keeps it in a cookie that scripts cannot read and other sites cannot send. The page then acts with that key, through
the API and its quotas (`service.playground.calls`). Gradio itself is built when the judge is loaded; its import
takes seconds.
"""

import asyncio
import importlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genrm.errors import GenRMError
from service.error_responses import list_failure_headers, note_failure
from service.errors import RefusalError, StartError
from service.keyring import Keyring
from service.keys import ApiKey
from service.playground.doorstep import render_loading, render_sign_in
from service.playground.file_guard import check_files
from service.playground.uploads import UploadFolder
from service.playground.visitor import COOKIE, read_visitor_key
from service.quota import Quotas
from service.settings import Settings

PATH = "/playground"
UPLOAD_PATH = f"{PATH}/gradio_api/upload"
"""Where files for batches come in, under the limit of such files."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""Nothing is loaded from, or sent to, another host, whatever Gradio would like. Its page consists of inline scripts and
compiles its templates, hence the two `unsafe`s; what visitors write is escaped by `service.playground.cards`."""

_DOORSTEP_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'self'"
_MAX_FORM_BYTES = 4096
_API = "/gradio_api/"
_JOIN, _UPLOAD = f"{_API}queue/join", f"{_API}upload"
_OPEN_FOLDERS = ("/assets/", "/static/", "/svelte/", f"{_API}file=/")
_OPEN_PATHS = frozenset(
    {"/", "/config", "/theme.css", "/favicon.ico", f"{_API}theme.css"}
    | {f"{_API}{name}" for name in ("info", "app_id", "startup-events", "upload", "upload_progress")}
    | {f"{_API}{name}" for name in ("queue/join", "queue/data", "cancel", "reset", "login_check")}
)
"""What the page needs. The rest of Gradio (proxying, monitoring, deep links, saved runs, code editing) does not exist
here, nor do its heartbeats: each open page would keep a connection, and a browser has six for all of its pages."""

_logger = logging.getLogger(__name__)


class Page(Protocol):
    """The built page: an application with a life.

    folders: where files lie that visitors may name. uploads: where uploads go.
    """

    folders: Sequence[Path]
    uploads: UploadFolder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below the page's path."""

    async def start(self) -> None:
        """Begin to work, in the running event loop."""

    async def close(self) -> None:
        """Stop."""


class Playground:
    """What is mounted at `PATH`.

    app: the application that the page acts on. keyring: whose keys count. describe_wait: says what is not loaded yet.
    build: makes the page. quotas: what each key has used.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keyring: Keyring,
        describe_wait: Callable[[], str],
        build: Callable[[ASGIApp, Settings], Awaitable[Page]],
        quotas: Quotas,
    ) -> None:
        self._app = app
        self._settings = settings
        self._keyring = keyring
        self._describe_wait = describe_wait
        self._build = build
        self._quotas = quotas
        self._page: Page | None = None
        self._has_failed = False
        self._id = secrets.token_hex(8)

    async def start(self) -> None:
        """Build the page. One that cannot be built is a warning, or StartError where the settings insist on it."""
        try:
            page = await self._build(self._app, self._settings)
            await page.start()
        except Exception as error:  # of a library that is not the service's business
            self._has_failed = True
            if self._settings.playground == "on":
                if isinstance(error, GenRMError):
                    raise
                raise StartError(
                    "The playground cannot be built; the log has the reason. Correct it, or set GENRM_PLAYGROUND=off."
                ) from error
            _logger.warning("There is no playground: it cannot be built. Set GENRM_PLAYGROUND=off.", exc_info=error)
            return
        self._page = page

    async def close(self) -> None:
        """Stop the page, if it was built."""
        if self._page is not None:
            await self._page.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below `PATH`."""
        if scope["type"] != "http":
            return
        record = scope["state"]["record"]
        record.route = PATH
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        request = Request(scope, receive)
        key: ApiKey | None = None
        if path == "/sign-in":
            await (await self._sign_in(request))(scope, receive, send)
        elif path == "/sign-out":
            await self._sign_out(request)(scope, receive, send)
        elif self._keyring.is_needed and (key := self._find_key(request)) is None:
            await self._refuse(request, path)(scope, receive, send)
        elif self._has_failed:
            raise RefusalError("not_found", "The playground could not be built; the service's log has the reason.")
        elif self._page is None:
            await _show(render_loading(self._describe_wait()), 503, retry=2)(scope, receive, send)
        elif path == "/alive":  # which process an open page looks at, again and again
            await JSONResponse({"id": self._id}, headers={"Cache-Control": "no-store"})(scope, receive, send)
        elif path == _JOIN:
            receive = await check_files(request, self._page.folders, self._settings)
            await _pass_on(self._page, scope, receive, send)
        elif path == _UPLOAD:
            await self._take_upload(self._page, key, request, send)
        elif path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS):
            await _pass_on(self._page, scope, receive, send)
        else:
            raise RefusalError("not_found", "There is nothing here. The playground begins at /playground/.")

    def _find_key(self, request: Request) -> ApiKey | None:
        given = read_visitor_key(request)
        key = self._keyring.find(given) if given is not None else None
        if key is None:
            return None
        request.state.record.facts["key"] = key.name
        return key

    def _refuse(self, request: Request, path: str) -> Response:
        """Without a key that counts: the way to the door for people, an error for programs."""
        if path == "/" and request.method in ("GET", "HEAD"):
            return _show(render_sign_in(), 200)
        raise RefusalError(
            "missing_api_key",
            "The playground of this service wants an API key. Open /playground/ and enter it; the operator gives out "
            "keys.",
        )

    async def _sign_in(self, request: Request) -> Response:
        """Take a key from the form, and keep it in a cookie if it counts."""
        if request.method != "POST":
            return RedirectResponse(".", 303)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                break
        given = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
        if len(body) > _MAX_FORM_BYTES or self._keyring.find(given) is None:
            request.state.record.error_code = "invalid_api_key"
            return _show(render_sign_in("This API key is not one that counts here. Check it for typing errors."), 401)
        response = RedirectResponse(".", 303)
        response.set_cookie(
            COOKIE,
            given.encode().hex(),
            path=_find_cookie_path(request),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def _sign_out(self, request: Request) -> Response:
        response = RedirectResponse(".", 303)
        response.delete_cookie(COOKIE, path=_find_cookie_path(request))
        return response

    async def _take_upload(self, page: Page, key: ApiKey | None, request: Request, send: Send) -> None:
        """Pass an upload on that the key may send and that there is room for.

        One that does not say how long it is counts as the longest allowed.
        """
        declared = request.headers.get("content-length", "")
        num_bytes = int(declared) if declared.isdecimal() else self._settings.max_file_bytes
        async with AsyncExitStack() as taken:
            try:
                if key is not None:
                    taken.enter_context(self._quotas.spend(key))
                await taken.enter_async_context(page.uploads.reserve(num_bytes))
            except RefusalError as refusal:  # the page shows the answer's body as it is, to a person
                failure = note_failure(refusal, request.state.record)
                response = PlainTextResponse(failure.message, failure.status, headers=list_failure_headers(failure))
                await response(request.scope, request.receive, send)
                return
            await _pass_on(page, request.scope, request.receive, send)


async def _pass_on(page: Page, scope: Scope, receive: Receive, send: Send) -> None:
    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    await page(scope, receive, send_with_policy)


_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


async def import_and_build_page(app: ASGIApp, settings: Settings) -> Page:
    """The page. app: the application that it acts on.

    Gradio reads its environment once, when it is imported: no counting of users, no saved runs, no second program. The
    import takes seconds and runs in a thread; what is built has to be built in the event loop that it will run in.
    """
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "GRADIO_SSR_MODE": "False"}
    page = await asyncio.to_thread(importlib.import_module, "service.playground.page")
    # Gradio imports this one at its first call, in the event loop, which then answers nobody for a second or more.
    await asyncio.to_thread(importlib.import_module, "matplotlib.pyplot")
    built: Page = page.build_page(app, settings)
    return built


def is_wanted(settings: Settings) -> bool:
    """Whether the settings ask for a playground that can be had. Raises StartError if they insist and it cannot."""
    if settings.playground == "off":
        return False
    if settings.playground == "on" and not is_installed():
        raise StartError(
            "GENRM_PLAYGROUND is 'on', and Gradio is not installed. Install the extra: pip install 'vl-genrm[ui]'; or "
            "set it to auto or off."
        )
    return is_installed()


def is_installed() -> bool:
    """Whether Gradio can be imported; it is not imported to find out."""
    return importlib.util.find_spec("gradio") is not None


async def redirect_to_playground(request: Request) -> Response:
    """`/playground` without its slash."""
    del request
    return RedirectResponse("playground/", 307)


def _find_cookie_path(request: Request) -> str:
    """The playground's own path as the browser knows it: cookies go nowhere else."""
    return str(request.scope.get("root_path", "")) or PATH


def _show(page: str, status: int, *, retry: int | None = None) -> Response:
    headers = {"Content-Security-Policy": _DOORSTEP_POLICY, "Cache-Control": "no-store"}
    if retry is not None:
        headers["Retry-After"] = str(retry)
    return HTMLResponse(page, status, headers=headers)
