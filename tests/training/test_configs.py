"""The configurations that ship: all are valid, and the large model's train a model of its architecture."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from typer.testing import CliRunner

from genrm.engines.in_process import InProcessEngine
from genrm.shipped import base_folder
from training.jobs.config import read_config
from training.jobs.job import load_job
from training.jobs.run_folder import RunFolder
from training.jobs.study import StudyConfig, plan_runs
from training.train_commands import JOBS, app

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
LARGE = CONFIGS / "qwen2.5-vl-7b"


@pytest.mark.parametrize(
    "file",
    [file for file in sorted(CONFIGS.rglob("*.yaml")) if file.stem in JOBS],
    ids=lambda file: f"{file.parent.name}/{file.stem}",
)
def test_a_shipped_configuration_is_valid(file: Path) -> None:
    read_config(load_job(JOBS[file.stem].target).schema, file, [])


def test_there_is_a_configuration_of_every_stage_for_both_models() -> None:
    for folder in ("pocket", "qwen2.5-vl-7b"):
        assert {file.stem for file in (CONFIGS / folder).glob("*.yaml")} >= set(JOBS) - {"loop"}


@pytest.mark.parametrize(("name", "minutes"), [("study", 15), ("ladder", 90)])
def test_all_arms_of_a_shipped_study_are_valid_and_none_takes_too_long(name: str, minutes: int) -> None:
    study = read_config(StudyConfig, CONFIGS / "pocket" / f"{name}.yaml", ["num_seeds=1"])
    runs = plan_runs(study, {name: entry.target for name, entry in JOBS.items()})
    assert {run.arm for run in runs} == set(study.arms)
    assert all(run.planned_seconds < minutes * 60 for run in runs)


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A Qwen2.5-VL with random weights and the pocket tokenizer."""
    folder = tmp_path / "tiny"
    shutil.copytree(base_folder(), folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start")
    }
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
            "tie_word_embeddings": True, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2, "num_heads": 2, "patch_size": 14, "hidden_size": 32, "out_hidden_size": 64,
            "intermediate_size": 64, "fullatt_block_indexes": [1],
        },
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        tie_word_embeddings=True,
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture
def settings(rows_file: Path, tiny_model: Path, tmp_path: Path) -> list[str]:
    """What must differ from the large model's stage 1 to run it on a few pairs and a tiny model."""
    critiques = [
        {"id": f"p{i}", "first": first, "text": f"Looked.\nVerdict: {label}", "probability": 0.9, "weight": 0.5,
         "with_evidence": False}
        for i in range(8) for first, label in (("A", "First"), ("B", "Second"))
    ]  # fmt: skip
    (tmp_path / "critiques").mkdir()
    (tmp_path / "critiques" / "critiques.jsonl").write_text(json.dumps({"counts": {}, "critiques": critiques}) + "\n")
    values = {
        "pairs": rows_file, "critiques": tmp_path / "critiques", "output": tmp_path / "run", "engine.model": tiny_model,
        "training.batch_size": 4, "measuring": "null",
    }  # fmt: skip
    return [f"{key}={value}" for key, value in values.items()]


@pytest.mark.filterwarnings("ignore:.*(checkpointing|pin_memory|requires_grad).*")
async def test_stage_1_of_the_large_model_trains_what_is_served(settings: list[str], tiny_model: Path) -> None:
    job = load_job(JOBS["ift"].target)
    config = read_config(job.schema, LARGE / "ift.yaml", settings)
    with RunFolder.open(config.output, config) as folder:
        job.run(config, folder)
        losses = folder.read_metrics()["train_loss"]
    assert all(loss > 0 for loss in losses.values())
    engine = InProcessEngine(str(tiny_model), adapter=str(config.output / "model"))
    await engine.start()
    await engine.close()


def test_a_dry_run_prints_steps_tokens_and_time_and_writes_nothing(settings: list[str], tmp_path: Path) -> None:
    options = [word for setting in settings for word in ("--set", setting)]
    answer = CliRunner().invoke(app, ["ift", str(LARGE / "ift.yaml"), *options, "--dry-run"], env={"COLUMNS": "160"})
    assert answer.exit_code == 0, answer.output
    assert "16 samples, 4 steps of 4, lora" in answer.output
    assert "in all" in answer.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*(checkpointing|pin_memory|requires_grad).*")
def test_two_processes_train_what_one_trains_and_one_of_them_measures(
    settings: list[str], rows_file: Path, tmp_path: Path
) -> None:
    job = load_job(JOBS["ift"].target)
    config = read_config(job.schema, LARGE / "ift.yaml", settings)
    with RunFolder.open(config.output, config) as folder:
        job.run(config, folder)
    pair = tmp_path / "pair"
    options = [*settings, f"output={pair}", f"measuring={{pairs: {rows_file}, limit: 2}}"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "genrm.cli", "train", "ift"]
    subprocess.run(
        [sys.executable, *launch, str(LARGE / "ift.yaml"), *(f"--set={option}" for option in options)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONFIGS.parents[1]), "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        timeout=600,
    )
    one, two = (load_file(folder / "model" / "adapter_model.safetensors") for folder in (config.output, pair))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    assert len((pair / "measured" / "verdicts.jsonl").read_text().splitlines()) == 2
    assert json.loads((pair / "result.json").read_text())["overall"]["num"] == 2
    assert json.loads((config.output / "result.json").read_text()) == {"samples": 16}
