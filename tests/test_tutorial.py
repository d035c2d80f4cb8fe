"""The tutorial's commands, word for word but smaller, one after the other: each finds what the one before left."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from genrm import cli
from genrm.shipped import base_folder, judge_folder

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
SMALLER = (("--n 960", "--n 24"), ("n=500", "n=12"), ("--pope-images 150", "--pope-images 4 --captions 4"))
"""What a test must make smaller."""
MORE = {"vapr": ["--set", "rows_per_shard=12"], "dpo": ["--set", "training.batch_size=4"]}


def read_commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    text = "\n".join(blocks).replace("\\\n", " ")
    for long, short in SMALLER:
        assert long in text, f"the tutorial no longer says {long}"
        text = text.replace(long, short)
    return [words[1:] for line in text.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.mark.slow
@pytest.mark.skipif(
    not all((folder() / "config.json").is_file() for folder in (base_folder, judge_folder)),
    reason="the shipped models are not built",
)
@pytest.mark.filterwarnings("ignore:.*(checkpointing|pin_memory|requires_grad).*")
def test_the_tutorial_leads_from_rows_to_a_policy_that_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training").symlink_to(ROOT / "training")
    monkeypatch.chdir(tmp_path)
    for words in read_commands():
        more = next((more for job, more in MORE.items() if words[:2] == ["train", job]), [])
        with pytest.raises(SystemExit) as end:
            cli.main([*words, *more])
        assert end.value.code == 0, words
    assert (tmp_path / "tutorial" / "dpo" / "model" / "adapter_model.safetensors").is_file()
    for name in ("before", "after"):
        report = json.loads((tmp_path / "tutorial" / name / "report.json").read_text(encoding="utf-8"))
        assert report["counts"]["qa: questions"] == 12
