"""Stages: a line per shard, resumed where it stopped; refused prompts and unreadable pictures cost themselves alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from genrm.engines.contract import Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import InputTooLongError
from training.engines import EngineChoice
from training.ipa import asking
from training.ipa.asking import Line, Loaded, complete, read_together, run_stage
from training.ipa.items import Item
from training.jobs.run_folder import RunFolder

MakeItem = Callable[..., Item]


def run(folder: RunFolder, items: Sequence[Item], seen: list[Any], *, dies_at: int | None = None) -> None:
    async def work(_: object, shard: Sequence[Loaded], told: tuple[Line, ...], seed: int) -> dict[str, Any]:
        if seed == dies_at:
            raise KeyboardInterrupt
        seen.append(([item.id for item, _ in shard], told, seed))
        return {item.id: seed for item, _ in shard}

    shards = [items[i : i + 2] for i in range(0, len(items), 2)]
    run_stage(folder, "round-1/one.jsonl", shards, EngineChoice(), work, seed=10, title="one")
    run_stage(
        folder, "round-1/two.jsonl", shards, EngineChoice(), work, inputs=["round-1/one.jsonl"], seed=20, title="two"
    )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[EngineChoice]:
    """Every engine that is opened."""
    choices: list[EngineChoice] = []

    def open_engine(choice: EngineChoice) -> FakeEngine:
        choices.append(choice)
        return FakeEngine()

    monkeypatch.setattr(asking, "open_engine", open_engine)
    return choices


def test_a_stage_is_told_what_earlier_ones_found_about_the_shard(
    make_item: MakeItem, opened: list[EngineChoice], tmp_path: Path
) -> None:
    folder, seen = RunFolder(tmp_path), list[Any]()
    run(folder, [make_item(name) for name in "abc"], seen)
    assert seen == [
        (["a", "b"], (), 10), (["c"], (), 11), (["a", "b"], ({"a": 10, "b": 10},), 20), (["c"], ({"c": 11},), 21),
    ]  # fmt: skip
    assert list(read_together(folder, ["round-1/one.jsonl", "round-1/two.jsonl"]))[1] == ({"c": 11}, {"c": 21})
    assert len(opened) == 2


def test_a_killed_stage_goes_on_with_the_first_shard_that_has_no_line(
    make_item: MakeItem, opened: list[EngineChoice], tmp_path: Path
) -> None:
    items, folder, seen = [make_item(name) for name in "abcdef"], RunFolder(tmp_path), list[Any]()
    with pytest.raises(KeyboardInterrupt):
        run(folder, items, seen, dies_at=21)
    assert [entry[2] for entry in seen] == [10, 11, 12, 20]
    run(folder, items, seen)
    assert [entry[2] for entry in seen] == [10, 11, 12, 20, 21, 22]
    assert seen[4][1] == ({"c": 11, "d": 11},)
    num_opened = len(opened)
    run(folder, items, seen)
    assert len(opened) == num_opened, "what is done loads no model"


def test_an_item_whose_picture_cannot_be_read_is_left_out(
    make_item: MakeItem, opened: list[EngineChoice], tmp_path: Path
) -> None:
    seen = list[Any]()
    run(RunFolder(tmp_path), [make_item("a"), make_item("b", has_image=False)], seen)
    assert [entry[0] for entry in seen] == [["a"], ["a"]]
    assert opened


class Choosy(FakeEngine):
    """Refuses calls with a prompt that says `long`."""

    async def complete(self, prompts: Sequence[Prompt], sampling: Sampling, **options: Any) -> Any:
        if any(prompt.shared == "long" for prompt in prompts):
            raise InputTooLongError("The prompt is too long.")
        return await super().complete(prompts, sampling, **options)


async def test_a_prompt_that_the_engine_refuses_does_not_cost_the_others_theirs() -> None:
    prompts = [Prompt(system="", images=(), shared=shared, tail="") for shared in ("a", "long", "b")]
    completions = await complete(Choosy(), prompts, Sampling(labels=(), seed=1))
    assert [completion is None for completion in completions] == [False, True, False]
    assert await complete(Choosy(), [], Sampling()) == []
