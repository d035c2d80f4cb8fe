"""Rounds of rejection sampling: sampled once, selected, trained, measured, promoted or not."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrm.engines.contract import Completion, Prompt
from genrm.engines.fake import FakeEngine
from genrm.errors import EngineError, InputTooLongError
from training import rejection
from training.engines import EngineChoice
from training.jobs.config import ConfigError, read_config
from training.jobs.run_folder import RunFolder
from training.margins import Drawn, Scored
from training.rejection import AllRejectedError, RejectConfig
from training.samples import Sample
from training.tables import SourceError


class Training:
    """Stands in for fine-tuning and measuring: remembers what it was given; round n scores `accuracies[n]`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, accuracies: Sequence[float], *, engine: FakeEngine) -> None:
        self.samples: list[list[Sample]] = []
        self.starts: list[str | None] = []
        self.sampled_with: list[str | None] = []
        self.num_completions = 0
        self._accuracies, self._engine = accuracies, engine
        monkeypatch.setattr(rejection, "fine_tune", self._fine_tune)
        monkeypatch.setattr(rejection, "measure", self._measure)
        monkeypatch.setattr(rejection, "open_engine", self._open)

    def _fine_tune(
        self, start: EngineChoice, samples: list[Sample], settings: object, output: Path, **_: Any
    ) -> EngineChoice:
        self.samples.append(samples)
        self.starts.append(start.adapter)
        return start.model_copy(update={"adapter": output.name})

    def _measure(self, choice: EngineChoice, *_: Any) -> dict[str, Any]:
        number = 0 if choice.adapter is None else int(choice.adapter.split("-")[1])
        right = round(200 * self._accuracies[number])
        share = {"value": right / 200, "low": 0.0, "high": 1.0, "num": 200}
        return {"figures": {"overall": share}, "scores": {f"e{i}": float(i < right) for i in range(200)}}

    def _open(self, choice: EngineChoice) -> FakeEngine:
        self.sampled_with.append(choice.adapter)
        engine = self._engine
        complete = FakeEngine.complete

        async def counted(prompts: Sequence[Any], *arguments: Any, **options: Any) -> list[Completion]:
            self.num_completions += len(prompts)
            return await complete(engine, prompts, *arguments, **options)

        engine.complete = counted  # type: ignore[method-assign]
        engine._closed = False
        return engine


def read(rows_file: Path, output: Path, *settings: str) -> RejectConfig:
    return read_config(
        RejectConfig,
        None,
        [
            f"pairs={rows_file}", f"output={output}", "pairs_per_round=20", "rounds=2", "samples=2", "threshold=-1",
            "pairs_per_block=8", "training.batch_size=1", "measuring.pairs=unused", "group_cap=100",
            "must_name_difference=false", *settings,
        ],
    )  # fmt: skip


def run(rows_file: Path, output: Path, *settings: str) -> Path:
    values = read(rows_file, output, *settings)
    with RunFolder.open(values.output, values) as folder:
        rejection.run(values, folder)
    return values.output


def test_a_round_samples_with_the_best_judge_and_trains_on_everything_kept_so_far(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(monkeypatch, [0.5, 0.7, 0.9], engine=FakeEngine())
    output = run(rows_file, tmp_path / "out")
    assert training.sampled_with == [None, "round-1"]
    assert training.starts == [None, "round-1"]
    assert len(training.samples[1]) > len(training.samples[0])
    assert json.loads((output / "best.json").read_text())["adapter"] == "round-2"
    assert (output / "rounds.png").stat().st_size > 1000
    rounds = json.loads((output / "rounds.json").read_text())["rounds"]
    assert all(0 < each["retention"]["value"] <= 1 and each["promoted"] for each in rounds)


def test_what_is_learned_ends_with_the_gold_verdict_whatever_was_drawn() -> None:
    for text, shown in (
        ("It is a dog.\nVerdict: Second", "It is a dog.\nVerdict: First"),
        ("It is a dog.\n**Verdict: First**\nThe end of it was cut by the", "It is a dog.\nVerdict: First"),
        ("Verdict: First", "Verdict: First"),
    ):
        drawn = Drawn(pair_id="p", group="", label="A", first="A", text=text, probability=0.8)
        assert rejection._stored(Scored(drawn=drawn, margin=0.6), 0.4)["text"] == shown


def test_a_round_without_a_readable_image_says_that_all_were_rejected_and_names_the_rows(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Training(monkeypatch, [0.5], engine=FakeEngine())
    for image in rows_file.parent.glob("*.png"):
        image.unlink()
    with pytest.raises(AllRejectedError, match="None of 0 critiques"):
        run(rows_file, tmp_path / "out")
    assert "Row p3 was skipped: its image '3.png' cannot be read" in caplog.text


def test_a_pair_that_the_judge_refuses_is_counted_and_named_and_the_others_are_sampled(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    complete = FakeEngine.complete

    async def refuse(self: FakeEngine, prompts: Sequence[Prompt], *arguments: Any, **options: Any) -> list[Completion]:
        if any("number 3?" in prompt.shared for prompt in prompts):
            raise InputTooLongError("The prompt is too long.")
        return await complete(self, prompts, *arguments, **options)

    monkeypatch.setattr(FakeEngine, "complete", refuse)
    Training(monkeypatch, [0.5, 0.7], engine=FakeEngine())
    output = run(rows_file, tmp_path / "out", "rounds=1")
    again = run(rows_file, tmp_path / "again", "rounds=1")
    assert "Row p3 was skipped: The prompt is too long." in caplog.text
    chosen = json.loads((output / "rounds.json").read_text())["rounds"][0]
    assert (chosen["pairs left out"], chosen["sampled"]) == (1, 19 * 2 * 2)
    assert (output / "round-1-sampled.jsonl").read_text() == (again / "round-1-sampled.jsonl").read_text()


def test_critiques_that_do_not_say_what_differs_are_not_learned(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Training(monkeypatch, [0.5], engine=FakeEngine())
    with pytest.raises(AllRejectedError, match=r"None of 80 critiques .* \(difference not named: 80, "):
        run(rows_file, tmp_path / "out", "must_name_difference=true")


def test_what_passed_and_was_lost_to_balance_is_not_said_to_have_been_wrong(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The better response of these rows is A: a judge that is always for the first is right where A stands first."""
    Training(monkeypatch, [0.5], engine=FakeEngine(verdict="first"))
    with pytest.raises(AllRejectedError, match=r"Of 80 critiques of round 1 40 passed, but balance left none"):
        run(rows_file, tmp_path / "out")


def test_critiques_that_experts_contradict_are_not_learned(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The experts of these rows found a dog; an engine that denies it teaches nothing."""
    engine = FakeEngine()
    complete = FakeEngine.complete

    async def deny(self: FakeEngine, *arguments: Any, **options: Any) -> list[Completion]:
        return [
            replace(each, text=f"There is no dog.\n{each.text}") for each in await complete(self, *arguments, **options)
        ]

    monkeypatch.setattr(FakeEngine, "complete", deny)
    Training(monkeypatch, [0.5], engine=engine)
    with pytest.raises(AllRejectedError, match="contradicted by experts: 80"):
        run(rows_file, tmp_path / "out")


def test_an_engine_without_probabilities_is_refused_before_it_samples(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(monkeypatch, [0.5], engine=FakeEngine(has_logprobs=False))
    with pytest.raises(EngineError, match="served without log-probabilities"):
        run(rows_file, tmp_path / "out")
    assert training.num_completions == 0


def test_pairs_that_share_an_id_are_refused(rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Training(monkeypatch, [0.5], engine=FakeEngine())
    rows_file.write_text(rows_file.read_text().replace('"p7"', '"p6"'))
    with pytest.raises(SourceError, match="1 ids belong to several pairs, 'p6' for one"):
        run(rows_file, tmp_path / "out")


def test_other_processes_wait_for_what_the_first_one_chose_and_train_on_the_same(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Training(monkeypatch, [0.5, 0.7, 0.9], engine=FakeEngine())
    output = run(rows_file, tmp_path / "out")
    written = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    monkeypatch.setenv("RANK", "1")
    other = Training(monkeypatch, [0.5, 0.7, 0.9], engine=FakeEngine())
    run(rows_file, output)

    def shown(samples: list[list[Sample]]) -> list[list[tuple[str, str, str]]]:
        return [[(s.pair.id, s.first, s.text) for s in each] for each in samples]

    assert shown(other.samples) == shown(first.samples)
    assert other.num_completions == 0
    assert written == {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}


def test_rounds_from_the_base_start_there(rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, [0.5, 0.7, 0.9], engine=FakeEngine())
    run(rows_file, tmp_path / "out", "start=base")
    assert training.starts == [None, None]


def test_a_round_that_makes_the_judge_worse_is_reported_and_not_promoted(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Training(monkeypatch, [0.8, 0.6, 0.9], engine=FakeEngine())
    output = run(rows_file, tmp_path / "out")
    report = json.loads((output / "rounds.json").read_text())
    assert report["best_round"] == 0
    assert [each["promoted"] for each in report["rounds"]] == [False]  # and it stopped
    assert json.loads((output / "best.json").read_text())["adapter"] is None
    assert json.loads((output / "result.json").read_text())["overall"]["value"] == pytest.approx(0.8)


def test_it_stops_when_the_gain_cannot_be_told_from_none(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(monkeypatch, [0.5, 0.505, 0.9], engine=FakeEngine())
    output = run(rows_file, tmp_path / "out")
    assert len(training.samples) == 1
    assert json.loads((output / "rounds.json").read_text())["best_round"] == 1  # a little better is still better
    told_to_go_on = run(rows_file, tmp_path / "out-all", "stop_early=false")
    assert len(json.loads((told_to_go_on / "rounds.json").read_text())["rounds"]) == 2


def test_without_a_pair_for_the_first_round_nothing_is_measured_and_the_message_names_skip_pairs(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(monkeypatch, [0.5, 0.7], engine=FakeEngine())
    with pytest.raises(ConfigError, match=r"skip_pairs is 40 and .* has 40 pairs: none is left for round 1"):
        run(rows_file, tmp_path / "out", "skip_pairs=40")
    run(rows_file, tmp_path / "out", "skip_pairs=10", "rounds=1")  # the folder was not begun
    assert len(training.samples) == 1


def test_rounds_for_which_no_pairs_are_left_are_told(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    training = Training(monkeypatch, [0.5, 0.7, 0.9], engine=FakeEngine())
    run(rows_file, tmp_path / "out", "skip_pairs=10", "rounds=3")
    assert len(training.samples) == 2
    assert "Round 2 has the last 10 pairs of" in caplog.text
    assert "Round 3 is not made" in caplog.text


def test_a_plan_has_the_rounds_that_there_are_pairs_for_and_what_may_be_kept_of_each(
    rows_file: Path, tmp_path: Path
) -> None:
    settings = ("skip_pairs=10", "rounds=3", "per_order=2", f"measuring.pairs={rows_file}", "measuring.limit=1000")
    steps = rejection.JOB.plan(read(rows_file, tmp_path, *settings)).steps
    sampled = [step.detail for step in steps if step.name.endswith("sample")]
    assert [detail.split(",")[0] for detail in sampled] == ["20 pairs", "10 pairs"]
    assert [step.detail.split(",")[0] for step in steps if step.name == "train"] == ["32 samples", "48 samples"]
    assert {step.detail for step in steps if "measure" in step.name} == {"40 pairs"}
    with pytest.raises(ConfigError, match="none is left for round 1"):
        rejection.JOB.plan(read(rows_file, tmp_path, "skip_pairs=40", *settings[1:]))


def test_when_all_are_rejected_it_says_so_with_the_histogram(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Training(monkeypatch, [0.5], engine=FakeEngine(verdict="none"))
    with pytest.raises(AllRejectedError, match=r"round-1-margins\.png.* lower threshold.*, in another output folder"):
        run(rows_file, tmp_path / "out")
    assert (tmp_path / "out" / "round-1-margins.png").exists()


@pytest.mark.parametrize("dies_at", [1, 2, 4, 5, 7])
def test_a_killed_run_samples_nothing_twice_and_ends_the_same(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    whole = Training(monkeypatch, [0.5, 0.7, 0.9], engine=FakeEngine())
    expected = run(rows_file, tmp_path / "whole")
    killed = Training(monkeypatch, [0.5, 0.7, 0.9], engine=FakeEngine())
    append: Callable[..., None] = RunFolder.append_line
    written = 0

    def dying(self: RunFolder, name: str, row: object) -> None:
        nonlocal written
        written += 1
        if written == dies_at:
            raise KeyboardInterrupt
        append(self, name, row)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_line", dying)
        if dies_at <= 6:  # two rounds of three blocks
            with pytest.raises(KeyboardInterrupt):
                run(rows_file, tmp_path / "killed")
        else:
            run(rows_file, tmp_path / "killed")
    found = run(rows_file, tmp_path / "killed")
    for number in (1, 2):
        name = f"round-{number}-kept.json"
        assert (found / name).read_text() == (expected / name).read_text()
        sampled = f"round-{number}-sampled.jsonl"
        assert (found / sampled).read_text() == (expected / sampled).read_text()
    assert killed.num_completions <= whole.num_completions + 8 * 2 * 2  # at most the block that was lost
