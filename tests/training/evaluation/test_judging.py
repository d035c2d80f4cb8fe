"""Verdicts are kept as they come: nothing is judged twice, nothing of another judge is mixed in, no row ends a run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError
from genrm.judge import JudgeOptions
from training.evaluation.judges import LocalJudge
from training.evaluation.judging import Judging, OtherJudgeError, open_judging, without_images
from training.sources import Pair

OPTIONS = JudgeOptions(experts="off")
PAIRS = [
    Pair(
        id=f"pair-{number}",
        question="What is it?",
        response_a=f"A dog {number}.",
        response_b=f"A cat {number}.",
        label="A",
        load_images=lambda: (Image.new("RGB", (12, 10), "red"),),
    )
    for number in range(10)
]


class WatchedEngine(FakeEngine):
    """Remembers the colours it was shown. fails_at: the call at which it fails; 0 for never."""

    def __init__(self, *, fails_at: int = 0) -> None:
        super().__init__()
        self.fails_at = fails_at
        self.colours: set[object] = set()

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """As the fake engine, until it fails."""
        if self.num_calls + 1 == self.fails_at:
            raise EngineError("gone")
        self.colours |= {prompt.images[0].getpixel((0, 0)) for prompt in prompts}
        return await super().complete(prompts, sampling, on_text=on_text)


def start(engine: FakeEngine, folder: Path, *, options: JudgeOptions = OPTIONS, concurrency: int = 4) -> Judging:
    return open_judging(LocalJudge(engine), options, folder, concurrency=concurrency)


async def test_a_run_that_died_goes_on_and_judges_nothing_twice(tmp_path: Path) -> None:
    dying, living = WatchedEngine(fails_at=5), FakeEngine()
    with pytest.raises(EngineError):
        await start(dying, tmp_path, concurrency=1).verdicts(PAIRS, title="judge")
    with (tmp_path / "verdicts.jsonl").open("a") as file:
        file.write('{"key": "torn in the mid')
    resumed = await start(living, tmp_path).verdicts(PAIRS, title="judge")
    assert (dying.num_calls, living.num_calls) == (4, 6)
    unbroken = await start(FakeEngine(), tmp_path / "other").verdicts(PAIRS, title="judge")
    assert [v.probabilities for v in resumed if v] == [v.probabilities for v in unbroken if v]
    assert len([json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]) == 10


async def test_another_judge_or_other_options_are_refused(tmp_path: Path) -> None:
    await start(FakeEngine(), tmp_path).verdicts(PAIRS[:1], title="judge")
    with pytest.raises(OtherJudgeError, match=r"judge\.model was 'fake', is 'other'"):
        start(FakeEngine(model="other"), tmp_path)
    with pytest.raises(OtherJudgeError, match=r"options\.samples was 1, is 3"):
        start(FakeEngine(), tmp_path, options=JudgeOptions(experts="off", samples=3))


async def test_a_row_with_new_texts_under_an_old_id_is_judged(tmp_path: Path) -> None:
    engine = FakeEngine()
    judging = start(engine, tmp_path)
    await judging.verdict(PAIRS[0])
    await judging.verdict(replace(PAIRS[0], response_b="Something else."))
    assert engine.num_calls == 2


async def test_a_row_with_another_picture_under_an_old_id_and_texts_is_judged(tmp_path: Path) -> None:
    engine = WatchedEngine()
    other = replace(PAIRS[0], load_images=lambda: (Image.new("RGB", (12, 10), "blue"),))
    for _ in range(2):  # the second time from the folder
        judging = start(engine, tmp_path)
        assert await judging.verdict(PAIRS[0]) == judging.find(PAIRS[0])
        assert await judging.verdict(other) == judging.find(other)
    assert engine.colours == {(255, 0, 0), (0, 0, 255)}
    assert engine.num_calls == 2


async def test_blank_pictures_are_judged_apart_from_real_ones(tmp_path: Path) -> None:
    engine = WatchedEngine()
    judging = start(engine, tmp_path)
    await judging.verdict(PAIRS[0])
    await judging.verdict(PAIRS[0], blank=True)
    await judging.verdict(without_images(PAIRS[0]))
    assert engine.colours == {(255, 0, 0), (128, 128, 128)}
    assert engine.num_calls == 2


async def test_a_pair_that_cannot_be_judged_is_skipped_once_and_the_run_goes_on(tmp_path: Path) -> None:
    too_long = replace(PAIRS[0], id="long", question="?" * 30_000)
    judging = start(FakeEngine(), tmp_path)
    await judging.verdicts([too_long], title="judge")
    verdicts = await judging.verdicts([PAIRS[0], too_long, PAIRS[1]], title="judge")
    assert [verdict is None for verdict in verdicts] == [False, True, False]
    assert [(row.id, "30,000 characters" in row.reason) for row in judging.skipped] == [("long", True)]
