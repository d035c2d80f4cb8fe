"""Stages of a round: one model is asked about all items, shard by shard, and each shard's answers become one line.

A stage's file has one line per shard, so a killed run goes on with the first shard that has none. Only one model is
loaded at a time. All prompts of a shard go to the engine in one call, so that a shard that is asked again comes out
the same.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL.Image import Image
from tqdm import tqdm

from genrm.engines.contract import Completion, Engine, Prompt, Sampling
from genrm.errors import InputTooLongError, InvalidComparisonError, InvalidImageError
from training.engines import EngineChoice, open_engine
from training.ipa.items import Item
from training.jobs.run_folder import RunFolder
from training.sources import RowError, Skipped, log_skipped

Line = Mapping[str, Any]
"""What a stage found out about a shard, by item id; items whose pictures cannot be read are left out."""
Loaded = tuple[Item, tuple[Image, ...]]
Stage = Callable[[Engine, Sequence[Loaded], tuple[Line, ...], int], Awaitable[dict[str, Any]]]
"""engine, items with their pictures, the lines of the stages before, seed of the shard → the shard's line."""

_REFUSED = (InputTooLongError, InvalidImageError, InvalidComparisonError)


def run_stage(
    folder: RunFolder,
    name: str,
    shards: Sequence[Sequence[Item]],
    choice: EngineChoice,
    work: Stage,
    *,
    inputs: Sequence[str] = (),
    seed: int,
    title: str,
) -> None:
    """Have a file of lines written, as far as it is not yet.

    name: of the file. inputs: files of earlier stages that `work` is told. seed: another one for every stage.
    """
    (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
    done = sum(1 for _ in folder.read_lines(name))
    if done == len(shards):
        return

    async def go_on() -> None:
        engine = open_engine(choice)
        await engine.start()
        try:
            todo = zip(range(len(shards)), shards, read_together(folder, inputs), strict=False)
            for number, shard, told in tqdm(
                itertools.islice(todo, done, None), desc=title, total=len(shards), initial=done, unit="shard"
            ):
                folder.append_line(name, await work(engine, load_all(shard), told, seed + number))
        finally:
            await engine.close()

    asyncio.run(go_on())


def read_together(folder: RunFolder, names: Sequence[str]) -> Iterator[tuple[Line, ...]]:
    """The lines of several stages, shard by shard; without a name, empty ones without end."""
    return zip(*(folder.read_lines(name) for name in names), strict=False) if names else itertools.repeat(())


def load_all(shard: Sequence[Item]) -> list[Loaded]:
    """The items whose pictures can be read, with these; the log says which cannot."""
    loaded: list[Loaded] = []
    skipped: list[Skipped] = []
    for item in shard:
        try:
            loaded.append((item, item.load_images()))
        except RowError as error:
            skipped.append(Skipped(id=item.id, reason=str(error)))
    log_skipped(skipped)
    return loaded


async def complete(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion | None]:
    """All completions; None for a prompt that the engine refuses, which does not cost the others theirs."""
    if not prompts:
        return []
    try:
        return list(await engine.complete(prompts, sampling))
    except _REFUSED:
        return [
            await _complete_one(engine, prompt, replace(sampling, seed=(sampling.seed or 0) + number))
            for number, prompt in enumerate(prompts)
        ]


async def _complete_one(engine: Engine, prompt: Prompt, sampling: Sampling) -> Completion | None:
    try:
        return (await engine.complete([prompt], sampling))[0]
    except _REFUSED:
        return None
