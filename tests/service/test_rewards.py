"""The judge as a reward: groups, what trainers hand over, and TRL's own GRPO trainer on the pocket base."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from genrm.shipped import base_folder
from service.client import ServiceError
from service.rewards import RewardInputError, ranking_reward

if TYPE_CHECKING:
    from tests.service.conftest import LiveServer, RecordingEngine, Serve

PICTURES = [Image.new("RGB", (56, 56), colour) for colour in ("teal", "orange")]


def conversation(text: str, picture: Image.Image | None = None) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": picture}] if picture else [{"type": "image"}]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def answer(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


async def test_completions_of_one_prompt_are_ranked_against_each_other(
    serve: Serve, recording_engine: RecordingEngine
) -> None:
    prompts = [conversation("How many?")] * 3 + [conversation("Which colour?")] * 2
    completions = [answer(text) for text in ("One.", "Two.", "Three.", "Teal.", "Orange.")]
    images = [PICTURES[0].copy() for _ in range(3)] + [PICTURES[1].copy() for _ in range(2)]
    with serve(recording_engine) as live:
        rewards = await ranking_reward(live.url)(prompts, completions, image=images, trainer_state=object())
    known = [reward for reward in rewards if reward is not None]
    assert len(known) == len(rewards) == 5
    assert all(0 < reward < 1 for reward in known)
    assert sum(known[:3]) == pytest.approx(1.5)
    assert sum(known[3:]) == pytest.approx(1.0)
    questions = {prompt.shared for prompt in recording_engine.prompts}
    assert questions == {"Question: How many?\n", "Question: Which colour?\n"}


async def test_texts_and_pictures_inside_of_prompts_are_read_as_well(live: LiveServer) -> None:
    reward = ranking_reward(live.url, strategy="knockout")
    inside = await reward([conversation("How many?", PICTURES[0])] * 2, [answer("One."), answer("Two.")])
    beside = await reward(["How many?"] * 2, ["One.", "Two."], images=[[PICTURES[0]]] * 2)
    assert inside == beside


async def test_equal_questions_about_other_pictures_are_other_groups(live: LiveServer) -> None:
    rewards = await ranking_reward(live.url)(["How many?"] * 2, ["One.", "Two."], image=PICTURES)
    assert rewards == [None, None]


async def test_an_empty_completion_is_ranked_like_any_other(live: LiveServer) -> None:
    rewards = await ranking_reward(live.url)(["How many?"] * 2, ["", "Two."], image=[PICTURES[0]] * 2)
    assert None not in rewards


async def test_what_is_missing_is_named(live: LiveServer) -> None:
    with pytest.raises(RewardInputError, match="Prompt 0 has no image"):
        await ranking_reward(live.url)(["How many?"] * 2, ["One.", "Two."])
    with pytest.raises(RewardInputError, match="no text of a user"):
        await ranking_reward(live.url)([conversation(" ")] * 2, ["One.", "Two."], image=PICTURES)


async def test_a_service_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        await ranking_reward("http://127.0.0.1:9")(["?"] * 2, ["One.", "Two."], image=[PICTURES[0]] * 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of TRL and transformers about each other are not ours to mend
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
def test_trl_s_grpo_trainer_learns_from_the_reward(
    live: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    from datasets import Dataset

    trl: Any = importlib.import_module("trl")  # its annotations know no asynchronous reward functions
    rows = {"prompt": [conversation("How many objects?")] * 2, "image": PICTURES}
    trainer = trl.GRPOTrainer(
        model=str(base_folder()),
        reward_funcs=ranking_reward(live.url),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=4, num_generations=4,
            max_completion_length=8, use_cpu=True, bf16=False, report_to=[], logging_steps=1, save_strategy="no",
        ),
        train_dataset=Dataset.from_dict(rows),
    )  # fmt: skip
    trainer.train()
    logged = [entry["rewards/vl_genrm/mean"] for entry in trainer.state.log_history if "rewards/vl_genrm/mean" in entry]
    assert len(logged) == 2
    assert logged == pytest.approx([0.5, 0.5])  # of a group, win probabilities have this mean
