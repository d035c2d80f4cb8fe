"""What labelling writes is what TRL's trainer reads: two steps of DPO on the shipped base."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import load_dataset
from PIL import Image

from genrm.shipped import base_folder
from genrm.types import Probabilities, Timings, Usage, Verdict
from training.labelling.candidates import Candidates
from training.labelling.rules import Labelled
from training.labelling.tables import make_dpo_row, write_dpo_rows
from training.preference_rows import encode_images


def make_verdict(margin: float) -> Verdict:
    return Verdict(
        status="decided",
        preferred="A" if margin > 0 else "B",
        probabilities=Probabilities(A=(1 + margin) / 2, B=(1 - margin) / 2),
        margin=margin,
        confidence=0.9,
        consistent=True,
        label_mass=1.0,
        probability_source="logprobs",
        critique="",
        readings=(),
        usage=Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=0),
        timings_ms=Timings(),
    )


@pytest.mark.slow
@pytest.mark.skipif(not (base_folder() / "config.json").is_file(), reason="the shipped base is not built")
@pytest.mark.filterwarnings("default")  # TRL's and transformers' own
def test_trl_s_dpo_trainer_trains_on_the_rows(tmp_path: Path) -> None:
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    image = Image.new("RGB", (168, 168), "teal")
    rows = []
    for number, margin in enumerate((0.9, -0.9, 0.8, -0.8)):
        row = Candidates(
            id=f"r{number}",
            question="How many dogs are there?",
            answers=("There are two dogs.", "There are three dogs."),
            load_images=lambda: (image,),
        )
        labelled = Labelled(row_id=row.id, first=0, second=1, verdict=make_verdict(margin))
        rows.append(make_dpo_row(row, labelled, encode_images([image]), "judge"))
    write_dpo_rows(tmp_path / "rows.parquet", rows)
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(base_folder()),
        args=DPOConfig(
            output_dir=str(tmp_path / "out"),
            use_cpu=True,
            bf16=False,
            max_length=None,
            per_device_train_batch_size=2,
            max_steps=2,
            logging_steps=1,
            report_to="none",
        ),
        train_dataset=load_dataset("parquet", data_files=str(tmp_path / "rows.parquet"), split="train"),
        processing_class=AutoProcessor.from_pretrained(base_folder()),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"]),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3), "before the first step both are equally likely"
    assert len(losses) == 2
