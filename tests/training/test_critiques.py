"""Critiques with the answer in view: asked for, checked by a reader without it, stored and read back."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from genrm.errors import InputTooLongError, InvalidComparisonError
from training import critiques
from training.critiques import CritiqueConfig, read_critiques, write_critiques
from training.gold import gold_label
from training.jobs.config import read_config
from training.jobs.run_folder import RunFolder
from training.preferences import vl_genrm
from training.preferences.vl_genrm import PreferenceConfig
from training.sources import Pair, read_pairs
from training.tables import SourceError

HINT = "Hint, not to be mentioned: the better response is"


class Writer(FakeEngine):
    """Follows the hint of a guided prompt; as a reader it believes or doubts what stands before the verdict."""

    def __init__(
        self,
        *,
        believes: float = 0.9,
        text: str = "Looked.",
        ending: str = "Verdict: {}",
        obeys: bool = True,
        refuses: str | None = None,
    ) -> None:
        super().__init__()
        self.believes, self.text, self.ending, self.obeys, self.refuses = believes, text, ending, obeys, refuses
        self.seen: list[Prompt] = []

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        """Guided prompts get `text` and the verdict hinted at, prefixes a verdict, others the fake's answer. A call
        with a question that holds `refuses` is refused.
        """
        if self.refuses == "labels":
            raise InvalidComparisonError("labels must be single tokens.", param="labels")
        if self.refuses is not None and any(self.refuses in prompt.shared for prompt in prompts):
            raise InputTooLongError("The prompt is too long.")
        self.seen += prompts
        plain = await super().complete(prompts, sampling)
        return [self._follow(prompt, completion) for prompt, completion in zip(prompts, plain, strict=True)]

    def _follow(self, prompt: Prompt, completion: Completion) -> Completion:
        from math import log

        if HINT in prompt.tail:
            told = "First" if f"{HINT} First" in prompt.tail else "Second"
            label = told if self.obeys else {"First": "Second", "Second": "First"}[told]
            return replace(completion, text=f"{self.text}\n{self.ending.format(label)}")
        if prompt.answer_prefix:
            first = self.believes if self._gold_is_first(prompt) else 1 - self.believes
            return replace(completion, label_logprobs=(log(first), log(1 - first)))
        return completion

    @staticmethod
    def _gold_is_first(prompt: Prompt) -> bool:
        number = int(prompt.shared.split("number ")[1].split("?")[0])
        return ("dog" in prompt.tail.split("\n")[0]) == (number % 2 == 0)


def config(**values: Any) -> CritiqueConfig:
    return CritiqueConfig.model_validate(
        {"output": "unused", "pairs": "unused", "must_name_difference": False, **values}
    )


MakePairs = Callable[[int], list[Pair]]


async def test_convincing_critiques_are_kept_for_both_orders_with_the_gold_verdict(make_pairs: MakePairs) -> None:
    pairs = make_pairs(4)
    kept, counts = await write_critiques(Writer(), pairs, config(per_order=2), seed=0)
    assert {(item.id, item.first) for item in kept} == {(f"p{i}", first) for i in range(4) for first in "AB"}
    by_id = {pair.id: pair for pair in pairs}
    assert all(item.text == f"Looked.\nVerdict: {gold_label(by_id[item.id].label, item.first)}" for item in kept)
    assert counts["written"] == 16
    assert counts["convincing"] == 8  # the same text twice counts once


async def test_bare_verdicts_are_counted_as_written(make_pairs: MakePairs) -> None:
    kept, counts = await write_critiques(Writer(), make_pairs(2), config(style="none"), seed=0)
    assert {item.text for item in kept} == {"Verdict: First", "Verdict: Second"}
    assert (counts["written"], counts["convincing"]) == (4, 4)


async def test_a_reader_who_is_not_convinced_refuses(make_pairs: MakePairs) -> None:
    kept, counts = await write_critiques(Writer(believes=0.4), make_pairs(3), config(per_order=1), seed=0)
    assert kept == []
    assert counts["not convincing"] == 6


async def test_a_critique_against_the_gold_verdict_or_with_the_hint_in_it_is_dropped(make_pairs: MakePairs) -> None:
    _, disobeyed = await write_critiques(Writer(obeys=False), make_pairs(2), config(per_order=1), seed=0)
    _, leaked = await write_critiques(Writer(text="As the hint says."), make_pairs(2), config(per_order=1), seed=0)
    assert disobeyed["without the gold verdict"] == 4
    assert leaked["hint mentioned"] == 4


async def test_a_text_about_detectors_is_dropped_where_the_judge_would_not_see_them(make_pairs: MakePairs) -> None:
    engine = Writer(text="The detectors report a dog.")
    for share, dropped in ((0.0, 4), (1.0, 0)):
        _, counts = await write_critiques(engine, make_pairs(2), config(per_order=1, evidence_share=share), seed=0)
        assert counts["hint mentioned"] == dropped


async def test_critiques_that_do_not_say_what_differs_are_dropped(make_pairs: MakePairs) -> None:
    for text, dropped in (("A dog, or a cat.", 0), ("A dog, or a bird.", 4), ("Looked.", 4)):
        _, counts = await write_critiques(
            Writer(text=text), make_pairs(2), config(per_order=1, must_name_difference=True), seed=0
        )
        assert counts["difference not named"] == dropped


async def test_whatever_adorned_or_followed_the_verdict_is_left_out(make_pairs: MakePairs) -> None:
    engine = Writer(ending="### **Verdict: {}**\nThat is all.")
    kept, _ = await write_critiques(engine, make_pairs(1), config(per_order=1), seed=0)
    assert {item.text for item in kept} == {"Looked.\nVerdict: First", "Looked.\nVerdict: Second"}


async def test_a_pair_without_a_readable_image_is_counted_and_named(
    rows_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (rows_file.parent / "1.png").unlink()
    kept, counts = await write_critiques(Writer(), read_pairs(str(rows_file), limit=3).rows, config(), seed=0)
    assert counts["unusable pair"] == 1
    assert {item.id for item in kept} == {"p0", "p2"}
    assert "Row p1 was skipped" in caplog.text


async def test_a_pair_that_the_model_refuses_is_counted_and_named_and_the_others_are_written(
    make_pairs: MakePairs, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = make_pairs(5)
    engine = Writer(refuses="number 3?")
    kept, counts = await write_critiques(engine, pairs, config(per_order=1), seed=0)
    again, _ = await write_critiques(Writer(refuses="number 3?"), pairs, config(per_order=1), seed=0)
    assert kept == again
    assert {item.id for item in kept} == {"p0", "p1", "p2", "p4"}
    assert counts["pair refused by the model"] == 1
    assert counts["written"] == 8
    assert "Row p3 was skipped: The prompt is too long." in caplog.text


async def test_an_option_that_the_engine_refuses_is_no_fault_of_the_pairs(make_pairs: MakePairs) -> None:
    with pytest.raises(InvalidComparisonError, match="labels"):
        await write_critiques(Writer(refuses="labels"), make_pairs(2), config(), seed=0)


def test_a_description_is_not_asked_what_it_owes_to_the_hint() -> None:
    assert config().looks_at_hint
    assert not config(style="descriptive").looks_at_hint
    assert not config(style="none", engine={"url": "http://localhost:1/v1"}).looks_at_hint
    with pytest.raises(ValidationError, match="max_hint_dependence to null"):
        config(engine={"url": "http://localhost:1/v1"})


def test_other_processes_leave_the_work_to_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    (tmp_path / "result.json").write_text("{}")
    critiques.run(config(), RunFolder(tmp_path))
    vl_genrm.run(PreferenceConfig(output=tmp_path, source="unused"), RunFolder(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_critiques_of_other_pairs_and_folders_without_any_are_refused(rows_file: Path, tmp_path: Path) -> None:
    pairs = read_pairs(str(rows_file)).rows
    with pytest.raises(SourceError, match=r"holds no critiques\.jsonl"):
        read_critiques(tmp_path, pairs)
    row = {"id": "strange", "first": "A", "text": "", "weight": 1.0, "with_evidence": False}
    (tmp_path / "critiques.jsonl").write_text(json.dumps({"counts": {}, "critiques": [row]}) + "\n")
    with pytest.raises(SourceError, match="of the pair 'strange', which is not among"):
        read_critiques(tmp_path, pairs)


async def test_neither_reader_sees_hint_or_evidence(rows_file: Path) -> None:
    engine = Writer()
    pairs = read_pairs(str(rows_file), limit=2).rows
    await write_critiques(engine, pairs, config(per_order=1), seed=0)
    guided = [prompt for prompt in engine.seen if HINT in prompt.tail]
    others = [prompt for prompt in engine.seen if HINT not in prompt.tail]
    assert all("Object detectors" in prompt.shared for prompt in guided)
    assert not any("Object detectors" in prompt.shared for prompt in others)


async def test_without_critiques_the_verdict_alone_is_learned(make_pairs: MakePairs) -> None:
    engine = Writer()
    kept, _ = await write_critiques(engine, make_pairs(2), config(style="none"), seed=0)
    assert {item.text for item in kept} == {"Verdict: First", "Verdict: Second"}
    assert not any(HINT in prompt.tail for prompt in engine.seen)


def test_a_run_that_is_killed_goes_on_and_leaves_the_same_samples(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, *, dies_after: int | None = None) -> Path:
        engine = Writer()
        calls = 0
        complete = engine.complete

        async def counted(*arguments: Any, **options: Any) -> list[Completion]:
            nonlocal calls
            calls += 1
            if dies_after is not None and calls > dies_after:
                raise KeyboardInterrupt
            return await complete(*arguments, **options)

        monkeypatch.setattr(engine, "complete", counted)
        monkeypatch.setattr(critiques, "open_engine", lambda _: engine)
        values = read_config(
            CritiqueConfig,
            None,
            [
                f"pairs={rows_file}",
                f"output={tmp_path / name}",
                "pairs_per_block=8",
                "per_order=1",
                "max_hint_dependence=null",
                "must_name_difference=false",
            ],
        )
        with RunFolder.open(values.output, values) as folder:
            critiques.run(values, folder)
        return values.output

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("killed", dies_after=7)
    resumed = run("killed")
    assert (resumed / "critiques.jsonl").read_text() == (whole / "critiques.jsonl").read_text()
    pairs = read_pairs(str(rows_file)).rows
    samples = read_critiques(resumed, pairs)
    assert len({(sample.pair.id, sample.first) for sample in samples}) == len(samples) >= len(pairs)
    shares = sum(bool(sample.sightings) for sample in samples) / len(samples)
    assert 0.1 < shares < 0.6
