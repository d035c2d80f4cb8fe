"""The commands `vl-genrm serve`, `vl-genrm judge` and `vl-genrm verify`.

Only the standard library and typer are imported here at the top: everything heavy waits until a command runs. Flags
override the `GENRM_` environment variables of the same name. A running service (`--url`) gets the key in
GENRM_API_KEY, which is no flag because other users of the machine can read those. Foreseen errors are raised as they
are; the root command prints them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from service.client import AsyncClient
    from service.exchange import Options
    from service.lifecycle import Lifecycle
    from service.schemas import JudgeResponse
    from service.settings import Settings

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or hub id of the judge; with --engine-url or --url its name there. Default: the shipped one."
    ),
]
AdapterOption = Annotated[str | None, typer.Option(help="Folder or hub id of a PEFT adapter to put on the model.")]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps. Default: auto.")]
EngineUrlOption = Annotated[
    str | None, typer.Option(help="OpenAI-compatible server that runs the model, e.g. http://localhost:8001/v1.")
]


ExpertsOption = Annotated[
    str | None,
    typer.Option(
        help="Vision experts: auto, none, or a list of shipped, grounding-dino:MODEL, detector:MODEL, "
        "detectron2:CONFIG, statements:MODEL, statements:shipped."
    ),
]


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one. Default: 8000.")] = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    device: DeviceOption = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16, float16. Default: auto.")] = None,
    attention: Annotated[str | None, typer.Option(help="sdpa or eager. Default: sdpa.")] = None,
    max_batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens of all readings that run together. Default: 65536.")
    ] = None,
    engine_url: EngineUrlOption = None,
    experts: ExpertsOption = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens per critique. Default: 512.")] = None,
    tie_margin: Annotated[float | None, typer.Option(help="Largest |P(A) - P(B)| that is a tie.")] = None,
    min_label_mass: Annotated[float | None, typer.Option(help="Label mass below which the judge abstains.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error. Default: info.")] = None,
    log_format: Annotated[str | None, typer.Option(help="plain or json. Default: plain.")] = None,
) -> None:
    """Serve the judge over HTTP.

    Every setting is also an environment variable (GENRM_PORT, GENRM_MAX_IMAGE_PIXELS, ...); see docs/settings.md.
    """
    given = dict(locals())
    from service.settings import find_misspelt, load_settings

    settings = load_settings(**given)
    for sentence in find_misspelt():
        typer.echo(f"vl-genrm: {sentence}", err=True)

    from service.server import open_metrics_port, open_port

    with ExitStack() as ports:  # before anything slow, so that a busy port is an error at once
        listener = ports.enter_context(open_port(settings.host, settings.port))
        metrics_listener = open_metrics_port(settings)
        if metrics_listener is not None:
            ports.enter_context(metrics_listener)

        from service.app import create_app
        from service.logs import configure_logs
        from service.server import format_url, run_server

        configure_logs(settings)
        url = format_url(listener)
        metrics_url = format_url(metrics_listener or listener)

        def say_ready(life: "Lifecycle") -> None:
            typer.echo(life.describe_start(url, metrics_url))

        run_server(create_app(settings), settings, listener, say_ready, metrics_listener)


def judge(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG, JPEG, WebP or GIF files.")],
    *,
    question: Annotated[str, typer.Option(help="What was asked about the image.")],
    a: Annotated[str, typer.Option(help="Response A.")],
    b: Annotated[str, typer.Option(help="Response B.")],
    mode: Annotated[
        Literal["critique", "fast"], typer.Option(help="critique: reasons, then a verdict. fast: probabilities only.")
    ] = "critique",
    samples: Annotated[int, typer.Option(min=1, help="Critiques per order; probabilities are averaged.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes sampled critiques repeatable.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy. Default: 0 for one sample, else 1.")] = None,
    url: Annotated[str | None, typer.Option(help="A running service to ask. Default: load the model here.")] = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    device: DeviceOption = None,
    engine_url: EngineUrlOption = None,
    experts: ExpertsOption = None,
    card: Annotated[
        Path | None, typer.Option(help="Write the verdict as a picture for reports here: .png, .svg or .pdf.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as the service's JSON.")] = False,
) -> None:
    """Judge two answers about an image: which is better, why, and how likely."""
    if card is not None:
        from service.card.drawing import check_path

        check_path(card)  # before anything slow
    options: Options = {"mode": mode, "samples": samples}
    if seed is not None:
        options["seed"] = seed
    if temperature is not None:
        options["temperature"] = temperature
    if url is not None:
        refuse_local({"--adapter": adapter, "--device": device, "--engine-url": engine_url, "--experts": experts})
        verdict = _ask_service(url, images, question, a, b, options if model is None else {**options, "model": model})
    else:
        from service.settings import load_settings

        settings = load_settings(model=model, adapter=adapter, device=device, engine_url=engine_url, experts=experts)
        verdict = asyncio.run(_judge_here(settings, images, question, a, b, options))
    _print_verdict(verdict, as_json=as_json)
    if card is not None:
        from service.card.drawing import write_card
        from service.card.images import read_images

        write_card(verdict, read_images(images), card, question=question, a=a, b=b)


def _ask_service(url: str, images: list[Path], question: str, a: str, b: str, options: "Options") -> "JudgeResponse":
    from service.client import Client

    with Client(url, api_key=read_api_key()) as client:
        return client.judge(images, question=question, a=a, b=b, **options)


def read_api_key() -> str | None:
    """The key of the caller for a service that wants one."""
    return os.environ.get("GENRM_API_KEY") or None


async def _judge_here(
    settings: "Settings", images: list[Path], question: str, a: str, b: str, options: "Options"
) -> "JudgeResponse":
    async with application_here(settings) as client:
        return await client.judge(images, question=question, a=a, b=b, **options)


@asynccontextmanager
async def application_here(settings: "Settings") -> AsyncIterator["AsyncClient"]:
    """A client of an application inside this process, so that limits, messages and answers are the service's own."""
    from httpx import ASGITransport
    from pydantic import SecretStr

    from service.app import create_app
    from service.client import AsyncClient
    from service.database import NONE

    # Nobody else can ask it, and the database may be in use by a service that runs.
    private = {
        "api_keys": None,
        "api_keys_file": None,
        "metrics_port": None,
        "playground": "off",
        "traces_url": None,
        "database_url": SecretStr(NONE),
    }
    app = create_app(settings.model_copy(update=private))
    async with app.router.lifespan_context(app), AsyncClient(transport=ASGITransport(app)) as client:
        await app.state.lifecycle.wait_until_loaded()
        yield client


def refuse_local(options: Mapping[str, object]) -> None:
    """Raise typer.BadParameter if an option is given that says how to load what a running service has loaded.

    options: values by flag, None where it is not given.
    """
    for name, value in options.items():
        if value is not None:
            raise typer.BadParameter(f"{name} has no effect on a running service; drop it, or drop --url.")


def _print_verdict(verdict: "JudgeResponse", *, as_json: bool) -> None:
    if as_json:
        typer.echo(verdict.model_dump_json(indent=2))
        return
    from rich.console import Console

    from service.terminal import render_verdict

    Console(highlight=False).print(render_verdict(verdict))


def verify(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG, WebP or GIF file.")],
    *,
    text: Annotated[str, typer.Option(help="What is checked: any text about the image.")],
    annotated: Annotated[
        Path | None, typer.Option(help="Write the picture with boxes and claims here, as PNG.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="A running service to ask. Default: load the experts here.")] = None,
    experts: ExpertsOption = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the service's JSON.")] = False,
) -> None:
    """Check what a text claims or denies: its objects by vision experts, its sentences by statement checkers."""
    if url is not None:
        refuse_local({"--experts": experts, "--device": device})
        from service.client import Client

        with Client(url, api_key=read_api_key()) as client:
            found = client.verify(image, text)
            picture = client.annotate(image, text) if annotated is not None else b""
    else:
        from service.settings import load_settings
        from service.verifying import verify_here

        settings = load_settings(experts=experts, device=device)
        found, picture = asyncio.run(verify_here(settings, image, text, draw=annotated is not None))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        from rich.console import Console

        from service.terminal import render_verification

        Console(highlight=False).print(render_verification(found))
    if annotated is not None:
        try:
            annotated.write_bytes(picture)
        except OSError as error:
            raise typer.BadParameter(
                f"The picture cannot be written to {annotated} ({error.strerror}). Name a file in a folder that exists."
            ) from error
