"""The page itself: its tabs under one heading, and Gradio around them, told to stay at home.

Gradio is imported here and in the tabs only, so that a service without the extra `ui` starts as it is.
"""

import asyncio
import logging
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import gradio as gr
import httpx
from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genrm.shipped import samples_folder
from service.connection import cancel_all
from service.playground.assets import FOR_AN_HOUR, FOR_EVER, Assets
from service.playground.audit_tab import AuditTab
from service.playground.batch_tab import BatchTab
from service.playground.calls import Api
from service.playground.judge_tab import JudgeTab
from service.playground.mount import PATH
from service.playground.rank_tab import RankTab
from service.playground.script import FIRST, HEAD, HEAD_TAG, put_first
from service.playground.style import CSS, build_theme
from service.playground.transport import InProcessTransport
from service.playground.uploads import UploadFolder
from service.samples import load_shipped_samples
from service.settings import Settings

_QUEUE_SECONDS = 0.02
"""How often Gradio's queue looks for calls. Its own default, a millisecond, takes a twelfth of a core while nobody is
there."""
_PROGRESS_SECONDS = 1.0
"""How often Gradio looks for progress bars, of which the page has none of Gradio's."""
_WARM_UP_SECONDS = 30.0
_HASHED, _NAMED, _FILES = "/assets/", "/static/", "/gradio_api/file="
_logger = logging.getLogger(__name__)
_GRADIO = Path(gr.__file__).parent / "templates" / "frontend"


class GradioPage:
    """Gradio's application for the page, with its life.

    folder: of uploads and results, deleted at the end. uploads: the same, with its limit. max_file_bytes: of one
    upload.
    """

    def __init__(
        self,
        blocks: gr.Blocks,
        folder: tempfile.TemporaryDirectory[str],
        uploads: UploadFolder,
        max_file_bytes: int,
    ) -> None:
        self._blocks = blocks
        self._folder = folder
        self.uploads = uploads
        holder = (
            FastAPI()
        )  # Gradio mounts itself into a FastAPI application; ours keeps its routes and schema to itself
        gr.mount_gradio_app(
            holder,
            blocks,
            path=PATH,
            footer_links=[],
            run_history=False,
            allowed_paths=[str(samples_folder())],
            show_error=True,
            max_file_size=max_file_bytes,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=build_theme(),
            css=CSS,
            head=HEAD,
        )
        self.folders = (uploads.path, samples_folder().resolve())
        self._app: ASGIApp = next(route.app for route in holder.routes if isinstance(route, Mount))
        self._packed = GZipMiddleware(put_first(self._app, FIRST))
        self._assets = {
            _HASHED: Assets(_GRADIO / "assets", FOR_EVER),
            _NAMED: Assets(_GRADIO / "static", FOR_AN_HOUR),
        }
        self._holder = holder
        self._life = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below the page's path."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        for folder, assets in self._assets.items():
            if path.startswith(folder):
                response = await assets.find(path.removeprefix(folder), Headers(scope=scope))
                await response(scope, receive, send)
                return
        if path == "/":
            await self._packed(scope, receive, send)
        elif path == "/theme.css" and scope["query_string"].startswith(b"v="):  # of the theme's own hash
            await self._app(scope, receive, _keep_answer(send, FOR_EVER))
        elif path.startswith(_FILES):  # the hash of a file's content is in its path
            await self._app(scope, receive, _keep_answer(send, FOR_AN_HOUR))
        else:
            await self._app(scope, receive, send)

    async def start(self) -> None:
        """Begin to work, in the running event loop, and do once what would make the first visitor wait."""
        await self._life.enter_async_context(self._holder.router.lifespan_context(self._holder))
        await self._warm_up()
        self.uploads.keep_what_is_there()
        sweeping = asyncio.ensure_future(self.uploads.sweep_on_schedule())
        self._life.push_async_callback(cancel_all, sweeping)

    async def close(self) -> None:
        """Stop, and delete what was uploaded."""
        self._blocks.close(verbose=False)
        await self._life.aclose()
        self._folder.cleanup()

    async def _warm_up(self) -> None:
        """Load the page, and press *Judge* with nothing entered. Where that fails, the first visitor waits."""
        number = next(number for number, each in self._blocks.fns.items() if each.name == "judge")
        call = {"data": [None, "", "", ""], "fn_index": number, "session_hash": "warm-up"}
        transport = InProcessTransport(self._holder)
        try:
            async with (
                asyncio.timeout(_WARM_UP_SECONDS),
                httpx.AsyncClient(base_url=f"http://localhost{PATH}", transport=transport) as http,
            ):
                page = (await http.get("/")).raise_for_status()
                if HEAD_TAG.decode() not in page.text:
                    _logger.warning(
                        "Gradio's page has no plain <head>; a page left open will cost its browser CPU time."
                    )
                (await http.post("/gradio_api/queue/join", json=call)).raise_for_status()
                (await http.get("/gradio_api/queue/data", params={"session_hash": "warm-up"})).raise_for_status()
        except (httpx.HTTPError, TimeoutError) as error:
            _logger.warning("The playground could not be warmed up: %r. Its first visitor will wait longer.", error)


def _keep_answer(send: Send, caching: str) -> Send:
    """Sends an answer with a `Cache-Control`, if it is a good one."""

    async def send_with_caching(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            headers = [(name, value) for name, value in message["headers"] if name != b"cache-control"]
            message = {**message, "headers": [*headers, (b"cache-control", caching.encode())]}
        await send(message)

    return send_with_caching


def build_page(app: ASGIApp, settings: Settings) -> GradioPage:
    """The page. app: the application that it acts on, with all its middleware."""
    folder = tempfile.TemporaryDirectory(prefix="genrm-playground-", ignore_cleanup_errors=True)
    uploads = UploadFolder(Path(folder.name).resolve(), settings.playground_max_bytes)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.path)  # the only way to tell Gradio where uploads go
    api = Api(app)
    samples = load_shipped_samples()
    needs_key = settings.api_keys is not None or settings.api_keys_file is not None
    with gr.Blocks(
        title="VL-GenRM playground",
        analytics_enabled=False,
        fill_width=True,
    ) as blocks:
        gr.HTML(_render_heading(needs_key=needs_key))
        with gr.Tabs():
            with gr.Tab("Judge", id="judge"):
                JudgeTab(api, settings, samples, needs_key=needs_key).build()
            with gr.Tab("Best of N", id="rank"):
                RankTab(api, samples).build()
            with gr.Tab("Batch", id="batch"):
                BatchTab(api, samples, uploads).build()
            with gr.Tab("Audit", id="audit"):
                AuditTab(api, settings, samples).build()
    blocks.queue(default_concurrency_limit=None)
    queue = blocks._queue  # noqa: SLF001 - Gradio has no option for how often it looks
    queue.sleep_when_free, queue.progress_update_sleep_when_free = _QUEUE_SECONDS, _PROGRESS_SECONDS
    return GradioPage(blocks, folder, uploads, settings.max_file_bytes)


def _render_heading(*, needs_key: bool) -> str:
    sign_out = ' · <a href="sign-out">Forget my key</a>' if needs_key else ""
    return (
        '<header class="vg-head"><div><h1>VL-GenRM</h1><p>Two answers to a question about an image: which one is '
        "better? A judge looks, reads both in both orders, writes down why, and says how sure it is.</p></div>"
        f'<p class="vg-dim"><a href="../docs">HTTP interface</a>{sign_out}</p></header>'
    )
