"""Labelling: every pair is judged once, what is sure becomes a preference row, what is not says why."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from PIL import Image

from genrm import cli
from genrm.errors import EngineError
from genrm.evidence import OBJECTS_UNCHECKED
from genrm.judge import JudgeOptions
from genrm.types import Comparison, Probabilities, Timings, Usage, Verdict
from training.evaluation.judges import JudgeChoice
from training.jobs.run_folder import RunFolder
from training.labelling import label as labelling
from training.labelling.candidates import CandidateTable
from training.labelling.label import JudgeSection, LabelConfig, OtherJudgeError, choose_judge, run
from training.labelling.rules import KeepRules
from training.tables import SourceError

Answers = Callable[[str, str], dict[str, Any]]


class TellingJudge:
    """Prefers the answer with more exclamation marks, surely or not; it may break after some judgements."""

    def __init__(self, *, model: str = "telling", breaks_after: int | None = None) -> None:
        self.model = model
        self.num_judged = 0
        self.num_running = self.most_at_once = 0
        self.breaks_after = breaks_after

    async def start(self) -> None:
        """Nothing to load."""

    def describe(self) -> dict[str, object]:
        """Its name."""
        return {"model": self.model}

    async def judge(self, comparison: Comparison, options: JudgeOptions) -> Verdict:
        """One sign more is a margin of 0.2."""
        del options
        if self.num_judged == self.breaks_after:
            raise EngineError("It broke.")
        self.num_judged += 1
        self.num_running += 1
        self.most_at_once = max(self.most_at_once, self.num_running)
        await asyncio.sleep(0)
        self.num_running -= 1
        a, b = comparison.response_a, comparison.response_b
        margin = max(-1.0, min(1.0, 0.2 * (a.count("!") - b.count("!"))))
        is_tie, is_odd = margin == 0, "?" in a + b
        return Verdict(
            status="abstained" if is_odd else "tie" if is_tie else "decided",
            reason="unparsed" if is_odd else None,
            preferred=None if is_tie or is_odd else ("A" if margin > 0 else "B"),
            probabilities=Probabilities(A=(1 + margin) / 2, B=(1 - margin) / 2),
            margin=margin,
            confidence=0.9,
            consistent="~" not in a + b,
            label_mass=1.0,
            probability_source="logprobs",
            critique="Because.",
            readings=(),
            expert_conflict="#" in a + b,
            warnings=(f"The expert answered nothing. {OBJECTS_UNCHECKED}",) if "%" in a + b else (),
            usage=Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=0),
            timings_ms=Timings(),
        )

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> TellingJudge:
    """The judge that every labelling of a test opens."""
    made = TellingJudge()
    monkeypatch.setattr(labelling, "open_judge", lambda _: made)
    return made


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), "teal").save(folder / "a.png")
    path = folder / "rows.jsonl"
    filled = [{"id": f"r{i}", "image": "a.png", "question": "What?", **row} for i, row in enumerate(rows)]
    path.write_text("\n".join(map(json.dumps, filled)))
    return path


def label(path: Path, output: Path, **settings: Any) -> dict[str, Any]:
    config = LabelConfig(source=str(path), output=output, **settings)
    with RunFolder.open(output, config) as folder:
        return run(config, folder)


def read(folder: Path) -> list[dict[str, Any]]:
    files = sorted(map(str, folder.glob("*.parquet")))
    return list(load_dataset("parquet", data_files=files, split="train"))


@pytest.mark.usefixtures("judge")
def test_what_is_sure_becomes_a_row_for_trl_and_what_is_not_says_why(tmp_path: Path) -> None:
    pairs = [
        ("yes!!", "no"),
        ("no", "yes!!!"),
        ("a!", "b"),
        ("c", "d"),
        ("e?!!", "f"),
        ("g!!~", "h"),
        ("i!!#", "j"),
        ("k!!%", "l"),
    ]
    path = write_rows(tmp_path / "rows", [{"response_a": a, "response_b": b} for a, b in pairs])
    result = label(path, tmp_path / "out")
    kept = read(tmp_path / "out" / "dpo")
    assert [row["source_row"] for row in kept] == ["r0", "r1"]
    assert kept[0]["prompt"] == [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]}
    ]
    assert kept[1]["chosen"] == [{"role": "assistant", "content": [{"type": "text", "text": "yes!!!"}]}]
    assert kept[1]["rejected"] == [{"role": "assistant", "content": [{"type": "text", "text": "no"}]}]
    assert kept[1]["margin"] == pytest.approx(0.6)
    assert kept[0]["images"][0].size == (40, 30)
    verdicts = {row["source_row"]: row["dropped_because"] for row in read(tmp_path / "out" / "verdicts")}
    assert verdicts == {
        "r0": None, "r1": None, "r2": "margin too small", "r3": "tie", "r4": "abstained: unparsed",
        "r5": "orders disagree", "r6": "experts contradict", "r7": "experts failed",
    }  # fmt: skip
    assert sum(result["fates"].values()) == 8
    assert result["num_kept"] == 2
    for name in ("README.md", "result.json", "margins.png", "fates.png", "lengths.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0


@pytest.mark.usefixtures("judge")
def test_rules_can_be_relaxed(tmp_path: Path) -> None:
    pairs = [("a!", "b"), ("g!!~", "h"), ("i!!#", "j"), ("k!!%", "l")]
    path = write_rows(tmp_path / "rows", [{"response_a": a, "response_b": b} for a, b in pairs])
    keep = KeepRules(min_margin=0.1, consistent=False, experts=False)
    assert label(path, tmp_path / "out", keep=keep)["num_kept"] == 4


def test_several_candidates_give_all_pairs_and_the_widest_are_kept(tmp_path: Path, judge: TellingJudge) -> None:
    path = write_rows(tmp_path / "rows", [{"candidates": ["a", "b!!", "c!!!!", "a", " "]}])
    result = label(path, tmp_path / "out", keep=KeepRules(pairs_per_row=2))
    assert judge.num_judged == 3
    kept = read(tmp_path / "out" / "dpo")
    assert [row["chosen"][0]["content"][0]["text"] for row in kept] == ["c!!!!", "b!!"]
    assert [row["id"] for row in kept] == ["r0#0-2", "r0#0-1"]
    assert result["fates"] == {"kept": 2, "over the cap of pairs per row": 1}


def test_pairs_of_one_row_are_judged_side_by_side_up_to_the_limit(tmp_path: Path, judge: TellingJudge) -> None:
    path = write_rows(tmp_path / "rows", [{"candidates": [f"{'!' * i}" + "x" for i in range(6)]}])
    label(path, tmp_path / "out", concurrency=4)
    assert judge.num_judged == 15
    assert judge.most_at_once == 4


@pytest.mark.parametrize(
    "row",
    [
        {"response_a": "a!!", "response_b": "b"},
        {"responses": ["a!!", "b"]},
        {"completions": ["a!!", "b"]},
        {"response": '["a!!", "b"]', "human_ranking": [1, 0]},
        {"chosen": "a!!", "rejected": "b"},
        {"chosen": [{"role": "assistant", "content": "a!!"}], "rejected": [{"role": "assistant", "content": "b"}]},
    ],
)
@pytest.mark.usefixtures("judge")
def test_answers_are_found_under_the_names_that_data_sets_use(tmp_path: Path, row: dict[str, Any]) -> None:
    label(write_rows(tmp_path / "rows", [row]), tmp_path / "out")
    (verdict,) = read(tmp_path / "out" / "verdicts")
    assert (verdict["response_a"], verdict["response_b"], verdict["preferred"]) == ("a!!", "b", "A")


@pytest.mark.usefixtures("judge")
def test_a_bad_row_is_skipped_and_counted(tmp_path: Path) -> None:
    good = {"response_a": "a!!", "response_b": "b"}
    rows = [
        good,
        {"response_a": "same", "response_b": "same"},
        {**good, "image": "missing.png"},
        {"question": "", **good},
    ]
    result = label(write_rows(tmp_path / "rows", [*rows, {}]), tmp_path / "out")
    assert result["fates"] == {"kept": 1, "row skipped": 4}
    with pytest.raises(SourceError, match="None of the 1 rows"):
        label(write_rows(tmp_path / "bad", [{}]), tmp_path / "none")


def test_a_broken_run_goes_on_and_judges_no_finished_block_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows(tmp_path / "rows", [{"response_a": f"{i}!!", "response_b": "b"} for i in range(10)])
    first, second = TellingJudge(breaks_after=6), TellingJudge()
    settings = {"rows_per_shard": 3, "concurrency": 1}
    monkeypatch.setattr(labelling, "open_judge", lambda _: first)
    with pytest.raises(EngineError):
        label(path, tmp_path / "out", **settings)
    monkeypatch.setattr(labelling, "open_judge", lambda _: second)
    result = label(path, tmp_path / "out", **settings)
    assert second.num_judged == 10 - 6
    assert result["num_kept"] == 10
    assert [row["source_row"] for row in read(tmp_path / "out" / "dpo")] == [f"r{i}" for i in range(10)]


def test_labels_of_two_judges_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "rows", [{"response_a": f"{i}!!", "response_b": "b"} for i in range(4)])
    monkeypatch.setattr(labelling, "open_judge", lambda _: TellingJudge(breaks_after=2))
    with pytest.raises(EngineError):
        label(path, tmp_path / "out", rows_per_shard=1, concurrency=1)
    monkeypatch.setattr(labelling, "open_judge", lambda _: TellingJudge(model="other"))
    with pytest.raises(OtherJudgeError, match="Name another --output"):
        label(path, tmp_path / "out", rows_per_shard=1, concurrency=1)


def test_only_a_block_is_read_at_a_time(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows", [{"response_a": str(i), "response_b": "b"} for i in range(10)])
    table = CandidateTable(str(path), limit=7)
    assert list(table.blocks(3)) == [(0, 3), (3, 6), (6, 7)]
    assert [row.id for row in table.read(3, 6).rows] == ["r3", "r4", "r5"]


@pytest.mark.usefixtures("judge")
def test_the_command_labels_and_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "rows", [{"response_a": "a!!", "response_b": "b"}])
    with pytest.raises(SystemExit) as end:
        cli.main(["label", str(path), "--output", str(tmp_path / "out"), "--min-margin", "0.2"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "1 pairs judged, 1 kept" in said
    assert f"Page with figures, plots and examples: {tmp_path / 'out' / 'report.html'}" in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--statements", "shipped"], "--statements has no effect with --experts off"),
        (["--url", "http://localhost:1", "--expert", "a/b"], "--expert has no effect on a running service"),
    ],
)
def test_options_that_exclude_each_other_are_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], reason: str
) -> None:
    path = write_rows(tmp_path / "rows", [{"response_a": "a", "response_b": "b"}])
    with pytest.raises(SystemExit) as end:
        cli.main(["label", str(path), "--output", str(tmp_path / "out"), *options])
    assert end.value.code == 2
    assert reason in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_who_checks_statements_is_said_in_the_configuration(tmp_path: Path) -> None:
    config = LabelConfig(source="rows", output=tmp_path, judge=JudgeSection(statements="shipped"), experts="combine")
    assert choose_judge(config) == JudgeChoice(statements="shipped", with_experts=True)
