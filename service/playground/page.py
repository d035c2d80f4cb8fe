"""The page itself: its tabs under one heading, and Gradio around them, told to stay at home.

Gradio is imported here and in the tabs only, so that a service without the extra `ui` starts as it is.
"""

import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from genrm.shipped import samples_folder
from service.playground.audit_tab import AuditTab
from service.playground.batch_tab import BatchTab
from service.playground.calls import Api
from service.playground.judge_tab import JudgeTab
from service.playground.mount import PATH
from service.playground.rank_tab import RankTab
from service.playground.style import CSS, HEAD, build_theme
from service.samples import load_shipped_samples
from service.settings import Settings

_SWEEP_SECONDS = 600
_KEPT_SECONDS = 3600
"""How long uploads and results stay on disk."""


class GradioPage:
    """Gradio's application for the page, with its life. folder: of uploads and results, deleted at the end."""

    def __init__(self, blocks: gr.Blocks, folder: tempfile.TemporaryDirectory[str], max_file_bytes: int) -> None:
        self._blocks = blocks
        self._folder = folder
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
        self.folders = (Path(folder.name).resolve(), samples_folder().resolve())
        self._app: ASGIApp = next(route.app for route in holder.routes if isinstance(route, Mount))
        self._holder = holder
        self._life = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below the page's path."""
        await self._app(scope, receive, send)

    async def start(self) -> None:
        """Begin to work, in the running event loop."""
        await self._life.enter_async_context(self._holder.router.lifespan_context(self._holder))

    async def close(self) -> None:
        """Stop, and delete what was uploaded."""
        self._blocks.close(verbose=False)
        await self._life.aclose()
        self._folder.cleanup()


def build_page(app: ASGIApp, settings: Settings) -> GradioPage:
    """The page. app: the application that it acts on, with all its middleware."""
    folder = tempfile.TemporaryDirectory(prefix="genrm-playground-", ignore_cleanup_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = folder.name  # the only way to tell Gradio where uploads go
    api = Api(app)
    samples = load_shipped_samples()
    needs_key = settings.api_keys is not None or settings.api_keys_file is not None
    results = Path(folder.name) / "results"
    results.mkdir()
    with gr.Blocks(
        title="VL-GenRM playground",
        analytics_enabled=False,
        delete_cache=(_SWEEP_SECONDS, _KEPT_SECONDS),
        fill_width=True,
    ) as blocks:
        gr.HTML(_render_heading(needs_key=needs_key))
        with gr.Tabs():
            with gr.Tab("Judge", id="judge"):
                JudgeTab(api, settings, samples, needs_key=needs_key).build()
            with gr.Tab("Best of N", id="rank"):
                RankTab(api, samples).build()
            with gr.Tab("Batch", id="batch"):
                BatchTab(api, samples, results).build()
            with gr.Tab("Audit", id="audit"):
                AuditTab(api, samples).build()
    blocks.queue(default_concurrency_limit=None)
    return GradioPage(blocks, folder, settings.max_file_bytes)


def _render_heading(*, needs_key: bool) -> str:
    sign_out = ' · <a href="sign-out">Forget my key</a>' if needs_key else ""
    return (
        '<header class="vg-head"><div><h1>VL-GenRM</h1><p>Two answers to a question about an image: which one is '
        "better? A judge looks, reads both in both orders, writes down why, and says how sure it is.</p></div>"
        f'<p class="vg-dim"><a href="../docs">HTTP interface</a>{sign_out}</p></header>'
    )
