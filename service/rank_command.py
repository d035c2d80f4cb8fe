"""The command `vl-genrm rank`: which of several answers about an image is best, from the terminal.

As in `service.commands`, heavy imports wait until the command runs.
"""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.commands import (
    AdapterOption,
    DeviceOption,
    EngineUrlOption,
    ExpertsOption,
    ModelOption,
    application_here,
    read_api_key,
    refuse_local,
)

if TYPE_CHECKING:
    from service.exchange import RankOptions
    from service.rerank_schemas import RerankResponse
    from service.settings import Settings


def rank(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG, JPEG, WebP or GIF files.")],
    *,
    question: Annotated[str, typer.Option(help="What was asked about the image.")],
    candidate: Annotated[list[str] | None, typer.Option(help="One answer; give it again for each.")] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="File of answers: a JSON array of texts, or one answer a line.")
    ] = None,
    strategy: Annotated[
        Literal["auto", "all_pairs", "swiss", "knockout"], typer.Option(help="Which pairs are judged.")
    ] = "auto",
    budget: Annotated[int | None, typer.Option(min=0, help="Most judgements, both orders of a pair being one.")] = None,
    mode: Annotated[
        Literal["critique", "fast"], typer.Option(help="critique: reasons, then a verdict. fast: probabilities only.")
    ] = "critique",
    url: Annotated[str | None, typer.Option(help="A running service to ask. Default: load the model here.")] = None,
    model: ModelOption = None,
    adapter: AdapterOption = None,
    device: DeviceOption = None,
    engine_url: EngineUrlOption = None,
    experts: ExpertsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ranking as the service's JSON.")] = False,
) -> None:
    """Rank several answers about an image: which is best, and how probably each is better than another."""
    texts = [*(candidate or []), *([] if candidates is None else read_candidates(candidates))]
    if not texts:
        raise typer.BadParameter("There is nothing to rank. Give --candidate for each answer, or --candidates FILE.")
    options: RankOptions = {"strategy": strategy, "mode": mode}
    if budget is not None:
        options["budget"] = budget
    if url is not None:
        refuse_local({"--adapter": adapter, "--device": device, "--engine-url": engine_url, "--experts": experts})
        from service.client import Client

        if model is not None:
            options["model"] = model
        with Client(url, api_key=read_api_key()) as client:
            ranking = client.rerank(images, question=question, candidates=texts, **options)
    else:
        from service.settings import load_settings

        settings = load_settings(model=model, adapter=adapter, device=device, engine_url=engine_url, experts=experts)
        ranking = asyncio.run(_rank_here(settings, images, question, texts, options))
    if as_json:
        typer.echo(ranking.model_dump_json(indent=2))
        return
    from rich.console import Console

    from service.terminal import render_ranking

    Console(highlight=False).print(render_ranking(ranking, texts))


def read_candidates(path: Path) -> list[str]:
    """The answers in a file. Raises typer.BadParameter if it cannot be read or holds something else."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise typer.BadParameter(
            f"The candidates cannot be read from {path} ({why}). Name a text file with one answer a line."
        ) from error
    if not content.lstrip().startswith("["):
        return [line.strip() for line in content.splitlines() if line.strip()]
    try:
        values = json.loads(content)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(
            f"{path} begins like a JSON array and is none (line {error.lineno}: {error.msg}). Correct it, or write one "
            "answer a line."
        ) from error
    if not all(isinstance(value, str) for value in values):
        raise typer.BadParameter(f"{path} holds a JSON array with something that is no text. Give texts alone.")
    return list(values)


async def _rank_here(
    settings: "Settings", images: list[Path], question: str, texts: list[str], options: "RankOptions"
) -> "RerankResponse":
    async with application_here(settings) as client:
        return await client.rerank(images, question=question, candidates=texts, **options)
