"""The training stages: what is fed to the models is exactly what a standalone prompt would be, and the recipe runs
end to end.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from experts.grounding_dino import GroundingDino
from genrm.prompts import SYSTEM
from genrm.types import Comparison
from pocket.architecture import build_model
from pocket.build import Recipe, StageMissingError, build
from pocket.drawing import draw_scene
from pocket.expert_backbone import BackboneSettings
from pocket.expert_stage import ExpertSettings
from pocket.language_stage import LanguageSettings
from pocket.optimizer import Optimizers
from pocket.packing import Packer
from pocket.pictures import to_patches
from pocket.scenes import GRID, Split, sample_scene
from pocket.tasks import BASE_MIX, JUDGE_MIX, POLICY_MIX, SECOND_BASE_MIX, SECOND_POLICY_MIX, Task, draw_task
from pocket.tokenizer import SPECIAL_TOKENS, build_processor
from pocket.vision_stage import IGNORED as NO_MAT_LABEL
from pocket.vision_stage import NO_KIND, NO_TEXT, VisionSettings, cell_labels
from pocket.vocabulary import KINDS, MAT_COLOURS, SIGN_TEXTS
from training.ipa.verification import read_finding
from training.jobs.run_folder import RunFolder
from training.loop import LoopConfig
from training.packing import use_ordinary_attention, use_packed_attention
from training.rejection import BEST

Models = tuple[Qwen2VLProcessor, Qwen2VLForConditionalGeneration]


@pytest.fixture(scope="module")
def untrained() -> Models:
    """A processor and an untrained model."""
    torch.manual_seed(0)
    processor = build_processor(num_scenes=400)
    ids = {token: processor.tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    return processor, build_model(vocab_size=len(processor.tokenizer), token_ids=ids).eval()


def test_every_name_of_the_world_is_one_token(untrained: Models) -> None:
    tokenizer = untrained[0].tokenizer
    words = {word for kind in KINDS for word in f"{kind.name} {kind.plural}".split()} | {*SIGN_TEXTS, *MAT_COLOURS}
    assert [word for word in words if len(tokenizer(f" {word}").input_ids) != 1] == []


@pytest.mark.parametrize("text", ["Grüße, 世界! 🦓 \u202e", "a\tb\r\n c", "<|im_end|>?"])
def test_any_text_survives_the_tokenizer(untrained: Models, text: str) -> None:
    tokenizer = untrained[0].tokenizer
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.usefixtures("emoji_font")
def test_patches_are_those_of_the_processor(untrained: Models) -> None:
    picture = draw_scene(sample_scene(Split.DEV, 1))
    patches, grid = to_patches(torch.from_numpy(np.asarray(picture)[None].copy()))
    expected = untrained[0].image_processor(images=[picture], return_tensors="pt")
    assert torch.equal(grid, expected["image_grid_thw"])
    torch.testing.assert_close(patches, expected["pixel_values"], atol=1e-5, rtol=0)


@pytest.mark.usefixtures("emoji_font")
def test_a_packed_task_is_computed_as_if_it_stood_alone(untrained: Models) -> None:
    processor, model = untrained
    scene, rng = sample_scene(Split.DEV, 2), np.random.default_rng(0)
    tasks = [draw_task(scene, rng, JUDGE_MIX) for _ in range(3)]
    picture = draw_scene(scene)
    batch = Packer(processor, model).pack([tasks[:1], tasks[1:]])
    features = model.model.visual(*_patches(picture)).pooler_output
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(batch.ids_T)
        embeddings = embeddings.masked_scatter(batch.image_slots_T[:, None], torch.cat([features, features]))
        use_packed_attention(model)
        hidden = model.model.language_model(
            inputs_embeds=embeddings[None],
            position_ids=batch.position_ids_3T[:, None],
            use_cache=False,
            blocks=batch.blocks,
        ).last_hidden_state
        use_ordinary_attention(model)
        alone = [_alone(processor, model, picture, task) for task in tasks]
    logits = model.lm_head(hidden[0, batch.predictors_K])
    torch.testing.assert_close(logits, torch.cat(alone), atol=1e-4, rtol=0)


@pytest.mark.usefixtures("emoji_font")
def test_verdicts_are_known_by_their_line(untrained: Models) -> None:
    scene, rng = sample_scene(Split.DEV, 2), np.random.default_rng(0)
    tasks = [draw_task(scene, rng, {name: 1.0}) for name in ("judge", "judge-fast", "judge-match")]
    tokenizer, batch = untrained[0].tokenizer, Packer(*untrained).pack([tasks])
    labels = [tokenizer.decode(token).strip() for token in batch.targets_K[batch.is_verdict_K]]
    assert labels == [task.answer.split()[-1] for task in tasks]


def _patches(picture: object) -> tuple[torch.Tensor, torch.Tensor]:
    return to_patches(torch.from_numpy(np.asarray(picture)[None].copy()))


def _alone(
    processor: Qwen2VLProcessor, model: Qwen2VLForConditionalGeneration, picture: object, task: Task
) -> torch.Tensor:
    """Logits that predict the answer of one task, from an ordinary chat."""
    user = [{"type": "image", "image": picture}, {"type": "text", "text": task.user}]
    chat = [{"role": "system", "content": task.system}, {"role": "user", "content": user}]
    chat += [{"role": "assistant", "content": task.answer}]
    tool: Any = processor
    inputs = tool.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
    num_answer = len(processor.tokenizer(f"{task.answer}<|im_end|>").input_ids)
    end = inputs["input_ids"].shape[1] - 1  # the template ends the turn with a line break that is not trained
    logits: torch.Tensor = model(**inputs).logits[0, end - num_answer - 1 : end - 1]
    return logits


def test_judge_tasks_are_prompted_as_the_judge_prompts() -> None:
    from genrm.prompts import render_prompt

    scene, rng = sample_scene(Split.DEV, 3), np.random.default_rng(1)
    for _ in range(20):
        task = draw_task(scene, rng, {"judge": 1.0})
        question, first, second = task.user.split("\n", 2)
        comparison = Comparison(
            images=(),
            question=question.removeprefix("Question: "),
            response_a=first.removeprefix("First response: "),
            response_b=second.removeprefix("Second response: "),
        )
        prompt = render_prompt(comparison, first="A", mode="critique")
        assert (prompt.system, prompt.shared + prompt.tail) == (SYSTEM, task.user)


def test_the_base_learns_every_link_and_only_a_little_judging() -> None:
    for mix in (BASE_MIX, SECOND_BASE_MIX, POLICY_MIX, SECOND_POLICY_MIX, JUDGE_MIX):
        assert sum(mix.values()) == pytest.approx(1)
    assert SECOND_BASE_MIX["judge"] < BASE_MIX["judge"] <= 0.2
    scene, rng = sample_scene(Split.DEV, 4), np.random.default_rng(2)
    for mix in (BASE_MIX, POLICY_MIX):
        assert {draw_task(scene, rng, mix).name.split()[0] for _ in range(200)} == set(mix)


def test_the_policy_verifies_what_is_said_in_other_words() -> None:
    rng = np.random.default_rng(3)
    tasks = [draw_task(sample_scene(Split.DEV, index), rng, {"verify-short": 1.0}) for index in range(60)]
    said = [re.search(r"Reference: (.*)\nResponse: (.*)\n", task.user) for task in tasks]
    assert {read_finding(task.answer) for task in tasks} == {"pass", "fail"}
    for task, found in zip(tasks, said, strict=True):
        assert found is not None
        reference, response = (text.strip(".").lower() for text in found.groups())
        assert reference != response
        short, long = sorted((reference, response), key=len)
        if read_finding(task.answer) == "fail" and task.user.startswith("Question: How many"):
            assert short not in long


def test_cell_labels_say_what_the_scene_says() -> None:
    scene = sample_scene(Split.DEV, 11)
    labels = cell_labels(scene)
    assert labels.shape == (3, GRID * GRID)
    assert (labels[0] != NO_KIND).sum() == len(scene.objects)
    assert {KINDS[n].name for n in labels[0] if n != NO_KIND} == {o.kind.name for o in scene.objects}
    assert ((labels[1] == NO_MAT_LABEL) == (labels[0] == NO_KIND)).all()
    assert (labels[2] != NO_TEXT).sum() == (scene.sign is not None)


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    optimizers = Optimizers([torch.nn.Linear(2, 2)], learning_rate=1.0, num_steps=100)
    rates = [optimizers.rate(step) for step in range(100)]
    assert rates[0] < rates[2] == rates[50] == 1.0
    assert 0 < rates[99] < 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("emoji_font")
def test_the_recipe_runs_end_to_end_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"num_steps": 2, "batch_scenes": 2, "tasks_per_scene": 2, "probe_every": 99, "probe_rows": 6}
    recipe = Recipe(
        vision=(VisionSettings(num_steps=2, batch_scenes=2, num_scenes=4),),
        language_scenes=range(4, 8),
        base=(
            LanguageSettings(mix=BASE_MIX, **short),
            LanguageSettings(mix=SECOND_BASE_MIX, **short),
        ),
        policy=(
            LanguageSettings(mix=POLICY_MIX, **(short | {"tasks_per_scene": 4})),
            LanguageSettings(mix=SECOND_POLICY_MIX, **(short | {"tasks_per_scene": 4})),
        ),
        supervised=LanguageSettings(mix=JUDGE_MIX, **short),
        expert_scenes=range(4, 8),
        expert_backbone=BackboneSettings(num_steps=2, batch_scenes=2),
        expert=ExpertSettings(num_steps=2, batch_scenes=2, probe_every=99, probe_scenes=4),
    )
    with pytest.raises(StageMissingError, match="--only vision"):
        build(recipe, tmp_path, only="base")

    def choose_base(config: LoopConfig, folder: RunFolder) -> None:
        """In place of the loop, for which this base is good for nothing."""
        assert config.preferences["experts"]["models"] == [str(tmp_path / "expert")]
        folder.write_json(BEST, {"model": config.engine.model})

    monkeypatch.setattr("training.loop.run", choose_base)
    judge = build(recipe, tmp_path)
    assert judge == tmp_path / "judge"
    build(recipe, tmp_path, only="supervised")
    expert = GroundingDino.load(str(tmp_path / "expert"))
    assert expert.vocabulary == frozenset(kind.name for kind in KINDS)
    vision = (tmp_path / "vision-1.safetensors").stat().st_mtime_ns
    base = (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns
    build(recipe, tmp_path)
    assert (tmp_path / "vision-1.safetensors").stat().st_mtime_ns == vision
    assert (tmp_path / "base" / "model.safetensors").stat().st_mtime_ns == base
    model = AutoModelForImageTextToText.from_pretrained(judge, dtype=torch.float32)
    assert isinstance(model, Qwen2VLForConditionalGeneration)
    config: Any = model.config
    assert len(AutoProcessor.from_pretrained(judge).tokenizer) == config.text_config.vocab_size
    for stage in ("vision-1", "base-1", "base", "policy-1", "policy", "supervised", "expert-backbone", "expert"):
        assert (tmp_path / f"{stage}.png").stat().st_size > 1000
        assert json.loads((tmp_path / f"{stage}.jsonl").read_text().splitlines()[-1])["step"] == 2
