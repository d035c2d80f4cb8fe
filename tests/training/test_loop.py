"""The whole loop: what its stages are told, that they run once each, and what it reports."""

import json
from pathlib import Path
from typing import Any

import pytest

from training import critiques, ift, loop, rejection
from training.engines import EngineChoice
from training.jobs.config import ConfigError, JobConfig, read_config
from training.jobs.job import Job
from training.jobs.run_folder import RESULT, ConfigChangedError, RunFolder
from training.loop import LoopConfig, stages_of
from training.measuring import Measuring
from training.preferences import vl_genrm

SHARE = {"value": 0.5, "low": 0.4, "high": 0.6, "num": 10}


def read(output: Path, *settings: str) -> LoopConfig:
    common = ["source=rows.jsonl", f"output={output}", "measuring.pairs=held-out.jsonl", "seed=7"]
    return read_config(LoopConfig, None, [*common, *settings])


def test_stages_are_told_what_they_share_and_where_the_one_before_left_its_work(tmp_path: Path) -> None:
    config = read(tmp_path, "pairs_for_ift=10", "engine.model=base", "ift.training.method=full", "reject.rounds=3")
    preferences, written, first, second = stages_of(config)
    assert second is not None
    assert {preferences.seed, written.seed, first.seed, second.seed} == {7}
    assert written.pairs == first.pairs == second.pairs == str(preferences.output / "data")
    assert written.limit == second.skip_pairs == 10
    assert first.critiques == second.first_samples == written.output
    assert second.engine.model == str(first.output / "model")
    assert second.rounds == 3
    assert second.measuring == first.measuring == config.measuring


def test_an_adapter_of_stage_1_goes_on_with_its_base(tmp_path: Path) -> None:
    *_, first, second = stages_of(read(tmp_path, "engine.model=base"))
    assert second is not None
    assert (second.engine.model, second.engine.adapter) == ("base", str(first.output / "model"))


def test_a_typo_in_the_section_of_a_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Section 'critiques' .* no key 'per_oder'; did you mean 'per_order'"):
        read(tmp_path, "critiques.per_oder=2")


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("critiques.limit", "give 'pairs_for_ift' instead"),
        ("reject.skip_pairs", "give 'pairs_for_ift' instead"),
        ("ift.measuring", "give 'measuring' instead"),
        ("preferences.seed", "give 'seed' instead"),
        ("reject.first_samples", "drop it: it is what an earlier stage writes"),
    ],
)
def test_a_key_of_a_section_that_the_loop_sets_itself_is_refused_with_the_loop_s_own(
    key: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"There is no key '{key}' in a loop, which sets it itself; {remedy}"):
        read(tmp_path, f"{key}=5")


def test_every_stage_runs_once_and_the_ladder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def stand_in(name: str, job: Job[Any]) -> Job[Any]:
        def run(config: JobConfig, folder: RunFolder) -> None:
            ran.append(name)
            if name == "ift":
                (folder.path / "measured").mkdir()
                (folder.path / "measured" / "measured.json").write_text("{}")
            if name == "reject":
                assert (folder.path / "round-0" / "measured" / "measured.json").read_text() == "{}"
            if name == "reject" and ran.count("reject") == 1:
                raise KeyboardInterrupt
            folder.write_json(RESULT, {"overall": SHARE, "rounds": {"0": {}, "1": {"overall": SHARE}}})
            folder.write_json("rounds.json", {"best_round": 1, "rounds": [{"retention": SHARE, "gain": SHARE}]})

        return Job(schema=job.schema, plan=job.plan, run=run)

    modules: dict[str, Any] = {
        "preferences": vl_genrm, "critiques": critiques, "ift": ift, "reject": rejection,
    }  # fmt: skip
    for name, module in modules.items():
        monkeypatch.setattr(module, "JOB", stand_in(name, module.JOB))
    models: list[tuple[str | None, str]] = []

    def measure(choice: EngineChoice, settings: Measuring, folder: Path) -> dict[str, Any]:
        models.append((choice.adapter and Path(choice.adapter).parent.name, settings.pairs))
        return {"figures": {"overall": SHARE, "model": choice.adapter}}

    monkeypatch.setattr(loop, "measure", measure)

    def start() -> None:
        config = read(tmp_path, "held_out.pairs=untouched.jsonl")
        with RunFolder.open(tmp_path, config) as folder:
            loop.run(config, folder)

    with pytest.raises(KeyboardInterrupt):
        start()
    start()
    assert ran == ["preferences", "critiques", "ift", "reject", "reject"]
    result = json.loads((tmp_path / RESULT).read_text())
    assert list(result["ladder"]) == ["base", "stage 1", "round 1"]
    assert result["final"] == {"overall": SHARE}
    assert result["rounds"] == {"round 1": {"retention": SHARE, "gain": SHARE}}
    untouched = [(model, "untouched.jsonl") for model in (None, "ift", "round-1")]
    assert models == [(None, "held-out.jsonl"), *untouched]
    assert json.loads((tmp_path / "best.json").read_text())["adapter"].endswith("reject/round-1/model")
    assert list(result["held_out"]) == ["base", "stage 1", "round 1", "final"]
    assert result["held_out"]["final"] == result["held_out"]["round 1"]


def test_the_loop_ends_with_the_base_if_no_stage_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stage(job: Job[Any]) -> Job[Any]:
        def run(config: JobConfig, folder: RunFolder) -> None:
            folder.write_json(RESULT, {"overall": SHARE})

        return Job(schema=job.schema, plan=job.plan, run=run)

    for module in (vl_genrm, critiques, ift):
        monkeypatch.setattr(module, "JOB", stage(module.JOB))
    better = SHARE | {"value": 0.6}
    monkeypatch.setattr(loop, "measure", lambda *_: {"figures": {"overall": better}})
    config = read(tmp_path, "reject=null", "engine.model=base")
    with RunFolder.open(tmp_path, config) as folder:
        loop.run(config, folder)
    assert json.loads((tmp_path / RESULT).read_text())["final"] == {"overall": better}
    assert json.loads((tmp_path / "best.json").read_text())["model"] == "base"
    assert "no stage is better than the base" in caplog.text


def test_a_loop_that_goes_on_may_compute_less_at_once_but_not_learn_otherwise(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, read(tmp_path)) as folder:
        folder.mark_done("preferences")
    for stage in ("ift", "reject"):
        RunFolder.open(tmp_path, read(tmp_path, f"{stage}.training.micro_batch_size=8")).close()
        RunFolder.open(tmp_path, read(tmp_path, f"{stage}.training.samples_per_second=8")).close()
    RunFolder.open(tmp_path, read(tmp_path)).close()
    with pytest.raises(ConfigChangedError, match=r"ift\.training\.batch_size was 'not set' and is now 8"):
        RunFolder.open(tmp_path, read(tmp_path, "ift.training.batch_size=8"))


def test_steps_are_shared_only_while_weights_and_files_are_the_same(tmp_path: Path) -> None:
    for name in ("base", "expert", "pictures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"one")
    for name in ("rows", "held-out"):
        (tmp_path / f"{name}.jsonl").write_text("{}")
    models = (f"engine.model={tmp_path / 'base'}", f"preferences.experts.models=[{tmp_path / 'expert'}]")
    files = (f"source={tmp_path / 'rows.jsonl'}", f"measuring.pairs={tmp_path / 'held-out.jsonl'}")
    pictures = f"preferences.images={tmp_path / 'pictures'}"
    one, other = (read(tmp_path / name, *models, *files, pictures) for name in ("one", "other"))

    def keys() -> list[list[str]]:
        return [loop._key(one, stage) for stage in ("preferences", "ift", "reject")]

    before = keys()
    assert [loop._key(other, stage) for stage in ("preferences", "ift", "reject")] == before
    for changed in ("base/model.safetensors", "expert/model.safetensors", "rows.jsonl", "pictures/a.png"):
        (tmp_path / changed).write_text(f"other {changed}")
        after = keys()
        assert all(now != then for now, then in zip(after, before, strict=True))
        before = after
    (tmp_path / "held-out.jsonl").write_text("{ }")
    assert keys()[0] == before[0]
    assert keys()[1:] != before[1:]


def test_without_stage_2_the_first_is_final(tmp_path: Path) -> None:
    assert stages_of(read(tmp_path, "reject=null"))[3] is None
