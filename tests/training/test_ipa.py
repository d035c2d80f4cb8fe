"""IPA from rows to pairs: rounds, trainings between them, resumption, and end to end with the shipped base."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from genrm.engines.contract import Completion, OnText, Prompt, Sampling
from genrm.engines.fake import FakeEngine
from training.engines import EngineChoice
from training.ipa import asking, rounds
from training.ipa.settings import IpaConfig
from training.jobs.config import read_config
from training.jobs.run_folder import ConfigChangedError, RunFolder
from training.preferences import ipa
from training.preferences.pairs import NoPairsError
from training.sources import Pair, read_pairs
from training.tables import SourceError
from training.train_commands import app

RIGHT, WRONG = "It is a dog.", "It is a cat."
KINDS = ("easy", "mixed", "second", "third", "never")


class Student(FakeEngine):
    """A model whose skill is the round it was trained for; questions name the skill that they take.

    easy: always right. mixed: right in half of the answers and revisions. second: right from the first training on.
    third: right after feedback that saw the reference. never: wrong. What is right stays so when it is revised. The
    verifier looks for the right answer. Another model's wrong answers have words of their own.
    """

    calls: list[tuple[str | None, str]]

    def __init__(self, choice: EngineChoice, calls: list[tuple[str | None, str]]) -> None:
        super().__init__()
        self.skill = 1 if choice.adapter is None else int(Path(choice.adapter).parent.name.partition("-")[2])
        self.name, self.calls = choice.adapter, calls
        self.wrong = WRONG if choice.model is None else f"{WRONG} Surely."

    async def complete(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, on_text: OnText | None = None
    ) -> list[Completion]:
        self.calls.extend((self.name, prompt.shared + prompt.tail) for prompt in prompts)
        return [
            Completion(
                text=self._say(prompt, number, sampling), label_logprobs=None, finish_reason="stop",
                prompt_tokens=1, completion_tokens=1, cached_tokens=0,
            )
            for number, prompt in enumerate(prompts)
        ]  # fmt: skip

    def _say(self, prompt: Prompt, number: int, sampling: Sampling) -> str:
        text = prompt.shared + prompt.tail
        draw = hashlib.blake2b(f"{sampling.seed} {number}".encode(), digest_size=2).digest()[0]
        if text.endswith("Does the response agree with the reference?"):
            return "Pass" if RIGHT in text.partition("Response:")[2] else "Fail"
        if text.endswith("Criticise the response."):
            return f"helpful {draw}" if "Reference:" in text and "third" in text else f"useless {draw}"
        if text.endswith("Revise the response."):
            is_right = RIGHT in text or "helpful" in text or ("mixed" in text and draw % 2)
            return RIGHT if is_right else WRONG
        is_right = "easy" in text or ("mixed" in text and draw % 2) or ("second" in text and self.skill >= 2)
        return RIGHT if is_right else self.wrong


class Run:
    """Runs the job with students, and with a training that only names what it would have trained."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.asked: list[tuple[str | None, str]] = []
        self.trained: list[dict[str, Any]] = []
        self.source = folder / "rows.jsonl"
        self.write_rows([f"{kind} {number}" for number in range(4) for kind in KINDS])
        monkeypatch.setattr(asking, "open_engine", lambda choice: Student(choice, self.asked))
        monkeypatch.setattr(rounds, "train_dpo", self._train)

    def write_rows(self, names: Sequence[str], **fields: Any) -> None:
        with self.source.open("w", encoding="utf-8") as file:
            for number, name in enumerate(names):
                Image.new("RGB", (32, 32), (number, 0, 0)).save(self.folder / f"{name}.png")
                row = {"id": name, "image": f"{name}.png", "question": f"{name}: what is it?", "reference": RIGHT,
                       "group": name.split()[0], **fields}  # fmt: skip
                file.write(json.dumps(row) + "\n")

    def __call__(self, name: str = "run", *settings: str) -> Path:
        common = [
            "training.batch_size=2", "items_per_shard=6", "revision.feedbacks_per_response=4",
            f"source={self.source}", f"output={self.folder / name}",
        ]  # fmt: skip
        config = read_config(IpaConfig, None, [*common, *settings])
        with RunFolder.open(config.output, config) as folder:
            ipa.run(config, folder)
        return config.output

    def _train(
        self, start: EngineChoice, pairs: Sequence[Pair], settings: object, output: Path, **_: Any
    ) -> EngineChoice:
        del settings
        self.trained.append({"start": start.adapter, "output": output, "pairs": pairs})
        return start.model_copy(update={"adapter": str(output)})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """See there."""
    return Run(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One that has run with the usual settings, for tests that only read what it left in `run`."""
    with pytest.MonkeyPatch.context() as patch:
        run = Run(tmp_path_factory.mktemp("finished"), patch)
        run()
    return run


def states(output: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (output / "items.jsonl").read_text().splitlines()]
    return {line["id"]: line["state"] for line in lines}


def rows(output: Path, name: str = "data") -> list[dict[str, Any]]:
    tables = [pq.read_table(path).to_pylist() for path in sorted((output / name).glob("*.parquet"))]
    return [row for table in tables for row in table]


def say(message: list[dict[str, Any]]) -> str:
    return str(message[-1]["content"][-1]["text"])


def test_items_pass_in_the_round_that_their_kind_takes(finished: Run) -> None:
    found = states(finished.folder / "run")
    assert {found[f"{kind} 0"] for kind in ("easy", "mixed")} == {"passed in round 1"}
    assert {found[f"second {number}"] for number in range(4)} == {"passed in round 2"}
    assert {found[f"third {number}"] for number in range(4)} == {"passed in round 3"}
    assert {found[f"never {number}"] for number in range(4)} == {"still hard"}


def test_what_passed_is_preferred_to_what_failed_and_every_pair_says_where_it_comes_from(finished: Run) -> None:
    output = finished.folder / "run"
    found = rows(output)
    assert {say(row["chosen"]) for row in found} == {RIGHT}
    assert {say(row["rejected"]) for row in found} == {WRONG}
    assert {row["source_row"].split()[0] for row in found} == {"mixed", "third"}
    assert all(say(row["prompt"]) == f"{row['source_row']}: what is it?" for row in found)
    assert len({row["id"] for row in found}) == len(found)
    third = [row for row in found if row["round"] == "3"]
    assert {row["chosen_from"] for row in third} == {"revised"}
    assert {(row["rejected_from"], row["rejected_generator"]) for row in third} == {("initial", "1")}
    pair = read_pairs(str(output / "data")).rows[0]
    assert pair.load_images()[0].size == (32, 32)
    result = json.loads((output / "result.json").read_text())
    assert result["num_pairs"] == len(found)
    assert result["items"] == {
        "passed in round 1": 8, "passed in round 2": 4, "passed in round 3": 4, "still hard": 4,
    }  # fmt: skip
    assert result["items_for_pairs"]["round 1"]["no pass"] == 12
    assert result["items_for_pairs"]["round 1"]["no fail"] == 4
    assert result["pass_rate"]["round 2"]["contrastive"]["value"] == pytest.approx(1 / 3)


def test_pairs_of_feedback_are_about_one_response_and_ask_as_the_reviser_is_asked(finished: Run) -> None:
    found = rows(finished.folder / "run", "feedback")
    assert found
    for row in found:
        assert say(row["prompt"]).endswith("Criticise the response.")
        assert f"Response: {row['about']}" in say(row["prompt"])
        assert "Reference:" not in say(row["prompt"])
        assert (row["chosen_led_to"], row["rejected_led_to"]) == (RIGHT, WRONG)


def test_generator_and_reviser_are_trained_between_rounds_on_what_the_rounds_before_gave(finished: Run) -> None:
    output = finished.folder / "run"
    first = rows(output)
    assert [(entry["output"].name, entry["start"]) for entry in finished.trained] == [
        ("generator-1", None), ("reviser", None),
    ]  # fmt: skip
    assert {pair.record["round"] for pair in finished.trained[0]["pairs"]} == {"1"}
    assert len(finished.trained[0]["pairs"]) == sum(row["round"] == "1" for row in first)
    assert all("Criticise" in pair.question for pair in finished.trained[1]["pairs"])
    by_models = {name and Path(name).name for name, text in finished.asked if "second" in text}
    assert by_models == {None, "generator-1", "reviser"}
    assert not [text for name, text in finished.asked if name and "easy" in text], (
        "what passed is not asked about again"
    )


@pytest.mark.parametrize(("start", "adapters"), [("base", {None}), ("previous", {None, "generator-1", "reviser"})])
def test_a_training_begins_with_the_base_or_with_the_round_before(
    start: str, adapters: set[str | None], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def say_half_wrong(self: Student, prompt: Prompt, number: int, sampling: Sampling) -> str:
        answer = say_before(self, prompt, number, sampling)
        is_first = not prompt.tail
        return WRONG if is_first and "second" in prompt.shared and number % 2 else answer

    say_before = Student._say
    monkeypatch.setattr(Student, "_say", say_half_wrong)  # so that round 2 gives pairs, too
    run("run", f"start={start}")
    assert {entry["start"] and Path(entry["start"]).name for entry in run.trained} >= adapters - {"reviser"}
    rounds_of = [{pair.record["round"] for pair in entry["pairs"]} for entry in run.trained]
    last = [found for entry, found in zip(run.trained, rounds_of, strict=True) if "round-3" in str(entry["output"])]
    assert last[0] == ({"1", "2"} if start == "base" else {"2"})


def test_the_reference_is_in_view_in_round_3_alone(run: Run) -> None:
    run("two", "rounds=2")
    assert not any("Reference:" in text and "Criticise" in text for _, text in run.asked)
    assert not any("Hint" in text for _, text in run.asked)
    run.asked.clear()
    found = states(run("sampling", "reference_guided=sampling"))
    assert any(f"Hint, not to be mentioned: the answer is {RIGHT}" in text for _, text in run.asked)
    assert not any("Reference:" in text and "Criticise" in text for _, text in run.asked)
    assert found["third 0"] == "still hard"


def test_several_generators_answer_and_each_is_trained(run: Run) -> None:
    output = run("run", "generators=[{}, {model: other}]")
    assert {row["rejected_generator"] for row in rows(output)} >= {"1", "2"}
    assert [entry["output"].name for entry in run.trained] == ["generator-1", "generator-2", "reviser"]


def test_a_served_model_and_too_few_pairs_leave_models_as_they_are(run: Run) -> None:
    run("served", "generators=[{url: 'http://127.0.0.1:1', model: x}]", "training.batch_size=1000")
    assert run.trained == []


def test_without_contrastive_samples_no_picture_is_perturbed(run: Run) -> None:
    output = run("run", "contrastive=false", "rounds=1")
    assert {row["rejected_perturbation"] for row in rows(output)} == {""}
    assert not (output / "perturbations.png").exists()


def test_the_report_shows_states_pass_rates_and_lengths(finished: Run) -> None:
    output = finished.folder / "run"
    page = (output / "README.md").read_text()
    assert "| still hard | 12 | 8 | 4 |" in page
    for name in ("items", "pass-rates", "perturbations", "lengths"):
        assert f"({name}.png)" in page
        assert (output / f"{name}.png").stat().st_size > 5_000


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_pairs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("whole")
    answer = Student.complete
    left = 0

    async def die(self: Student, *arguments: Any, **options: Any) -> list[Completion]:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return await answer(self, *arguments, **options)

    monkeypatch.setattr(Student, "complete", die)
    num_kills = 0
    while not (run.folder / "killed" / "result.json").exists():
        left = 3
        try:
            run("killed")
        except KeyboardInterrupt:
            num_kills += 1
    killed = run.folder / "killed"
    assert num_kills > 5
    assert rows(killed) == rows(whole)
    assert rows(killed, "feedback") == rows(whole, "feedback")
    for name in ("items.jsonl", "README.md", "result.json"):
        assert (killed / name).read_text() == (whole / name).read_text()
    asked = len(run.asked)
    run("killed")
    assert len(run.asked) == asked, "a finished run asks nobody"


def test_an_output_folder_of_another_configuration_is_refused_by_name(run: Run) -> None:
    run("run", "rounds=1")
    with pytest.raises(ConfigChangedError, match="contrastive was True and is now False"):
        run("run", "rounds=1", "contrastive=false")


def test_rows_that_cannot_be_used_are_counted_and_cost_themselves_alone(run: Run) -> None:
    (run.folder / "mixed 1.png").write_bytes(b"no picture")
    output = run()
    assert states(output)["mixed 1"] == "image unreadable"
    assert json.loads((output / "result.json").read_text())["items"]["image unreadable"] == 1


def test_a_source_without_references_and_one_without_pairs_say_what_to_do(run: Run) -> None:
    run.write_rows(["easy 0", "never 0"])
    with pytest.raises(NoPairsError, match=r"of 2 items .*item: no fail: 1, item: no pass: 3.*raise sampled"):
        run("none")
    run.write_rows(["easy 0"], reference=None)
    with pytest.raises(SourceError, match="reference"):
        run("without")


def test_guided_feedback_without_feedback_is_refused() -> None:
    with pytest.raises(ValidationError, match="set rounds to 2"):
        IpaConfig.model_validate({"output": "x", "source": "y", "revision": {"feedbacks_per_response": 0}})


def test_a_dry_run_names_rounds_and_trainings(run: Run) -> None:
    settings = [f"source={run.source}", f"output={run.folder / 'dry'}", "rounds=2"]
    options = [word for setting in settings for word in ("--set", setting)]
    answer = CliRunner().invoke(app, ["ipa", *options, "--dry-run"], env={"COLUMNS": "160"})
    assert answer.exit_code == 0, answer.output
    assert "20 items: 160 answers, 160 revisions" in answer.output
    assert "round-2" in answer.output
    assert not (run.folder / "dry").exists()


@pytest.mark.filterwarnings("ignore:.*(checkpointing|pin_memory|requires_grad).*")
def test_the_shipped_policy_makes_pairs_and_is_trained_on_them_between_rounds(tmp_path: Path) -> None:
    settings = [
        "source=pocket:train?n=24&seed=3", f"output={tmp_path}", "rounds=2", "sampled.per_item=2", "contrastive=false",
        "sampled.max_tokens=48", "revision.max_tokens=64", "verification.max_tokens=64", "training.batch_size=4",
        "training.learning_rate=1e-3", "caps.pairs_per_item=4",
    ]  # fmt: skip
    config = read_config(IpaConfig, None, settings)
    with RunFolder.open(config.output, config) as folder:
        ipa.run(config, folder)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["num_pairs"] >= 4
    assert 0.1 < result["pass_rate"]["round 1"]["initial"]["value"] < 0.95
    assert result["trained_on"]["before round 2"]["generator-1"] == sum(row["round"] == "1" for row in rows(tmp_path))
    assert (tmp_path / "round-2" / "generator-1" / "model" / "adapter_model.safetensors").exists()
    assert any("round-2/generator-1/loss" in line for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
