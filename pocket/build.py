"""The recipe that makes the pocket models from nothing: tokenizer, vision tower, base, policy, expert; and the judge.

The judge is trained by the training loop (`training.loop`, `training/configs/pocket/loop.yaml`) from base and expert. A
stage outside the recipe, `supervised`, trains a judge on critiques from ground truth instead: what the loop is compared
with.

Everything that is made on the way (pictures, checkpoints, curves) stays in one build folder, so that a killed build
goes on where it was. The finished models are ordinary folders in half precision, each with a card.

Run: `vl-genrm pocket build` (all stages), or `vl-genrm pocket build --only judge`.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import (
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)

import training
from experts.grounding_dino import KNOWN_PHRASES_FILE
from genrm.errors import GenRMError
from pocket.expert_architecture import build_expert, build_expert_processor
from pocket.expert_backbone import BackboneSettings, train_backbone
from pocket.expert_stage import ExpertSettings, train_expert
from pocket.language_stage import LanguageSettings, encode_scenes, initialise, train_language
from pocket.pictures import draw_pool
from pocket.probe import Probe, probe_answers, probe_chain
from pocket.scenes import Split
from pocket.tasks import BASE_MIX, JUDGE_MIX, POLICY_MIX, SECOND_BASE_MIX, SECOND_POLICY_MIX
from pocket.tokenizer import build_processor
from pocket.vision_stage import VisionSettings, train_vision
from pocket.vocabulary import KINDS
from training import loop
from training.jobs.config import read_config
from training.jobs.run_folder import RunFolder
from training.loop import LoopConfig
from training.rejection import BEST

STAGES = ("vision", "base", "policy", "expert", "judge")
SUPERVISED = "supervised"
"""A stage that is run only by name."""
_POLICY_TASKS: dict[str, Any] = {"tasks_per_scene": 14, "look_ups_per_scene": 4, "learning_rate": 1e-3}
LOOP_CONFIG = Path(training.__file__).parent / "configs" / "pocket" / "loop.yaml"


class StageMissingError(GenRMError, FileNotFoundError):
    """A stage was asked for before the one it builds on. Run the one that the message names first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All settings of a build. Scenes of the vision stage and of the language stages are different ones."""

    vision: tuple[VisionSettings, ...] = (
        VisionSettings(num_steps=1600, num_scenes=24_000, learning_rate=2e-3, seed=0),
        VisionSettings(num_steps=1500, num_scenes=40_000, learning_rate=1.5e-3, seed=1),
    )
    """Rounds, each with a schedule of its own; every round starts from the weights of the one before."""
    language_scenes: range = field(default_factory=lambda: range(40_000, 64_000))
    base: tuple[LanguageSettings, ...] = field(
        default_factory=lambda: (
            LanguageSettings(mix=BASE_MIX, num_steps=2000),
            LanguageSettings(mix=SECOND_BASE_MIX, num_steps=2600, seed=2, matches_per_scene=2),
        )
    )
    """Rounds, as of the vision stage."""
    policy: tuple[LanguageSettings, ...] = field(
        default_factory=lambda: (
            LanguageSettings(mix=POLICY_MIX, num_steps=1000, seed=3, **_POLICY_TASKS),
            LanguageSettings(mix=SECOND_POLICY_MIX, num_steps=300, seed=4, **_POLICY_TASKS),
        )
    )
    """Rounds from the base on."""
    supervised: LanguageSettings = field(
        default_factory=lambda: LanguageSettings(
            mix=JUDGE_MIX, num_steps=2600, seed=1, matches_per_scene=3, verdict_smoothing=0.05
        )
    )
    expert_scenes: range = field(default_factory=lambda: range(40_000, 64_000))
    expert_backbone: BackboneSettings = field(default_factory=BackboneSettings)
    expert: ExpertSettings = field(default_factory=ExpertSettings)


def build(recipe: Recipe, folder: Path, *, only: str | None = None) -> Path:
    """Run the stages (or the one named, or `SUPERVISED`) in a build folder; return where the last model lies.

    What is finished is not made again: delete a model's folder (and for the judge `loop`) to have it made anew.

    Raises StageMissingError if `only` names a stage whose forerunner has not been run in this folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2, default=str) + "\n")
    stages = STAGES if only is None else (only,)
    if "vision" in stages:
        start = None
        for number, round_settings in enumerate(recipe.vision, 1):
            start = train_vision(round_settings, folder, stage=f"vision-{number}", start=start)
        shutil.copy(
            _existing(folder / f"vision-{len(recipe.vision)}.safetensors", "vision"), folder / "vision.safetensors"
        )
    if "base" in stages and not (folder / "base").exists():
        _train_base(recipe, folder)
    if "policy" in stages and not (folder / "policy").exists():
        model, processor = _load_base(folder)
        _train_rounds(model, processor, recipe.policy, recipe, folder, "policy", probe_answers)
    if SUPERVISED in stages and not (folder / SUPERVISED).exists():
        _train_and_save(*_load_base(folder), recipe.supervised, recipe, folder, SUPERVISED, probe_chain)
    if "expert" in stages and not (folder / "expert").exists():
        _train_expert(recipe, folder)
    if "judge" in stages and not (folder / "judge").exists():
        _train_judge(folder)
    return folder / ("vision.safetensors" if stages == ("vision",) else stages[-1])


def save_model(
    model: PreTrainedModel, processor: ProcessorMixin, folder: Path, *, notes: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write weights (half precision, safetensors), configuration, tokenizer and processor as one ordinary model
    folder, whole or not at all. notes: more text files, by name.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.half().save_pretrained(unfinished)
    processor.save_pretrained(unfinished)
    for name, text in notes.items():
        (unfinished / name).write_text(text)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    model.float()


def current_commit() -> str:
    """The commit of the checkout that the recipe runs from; "unknown" outside a checkout."""
    answer = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607 - whichever git the user has
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or "unknown"


def _train_base(recipe: Recipe, folder: Path) -> None:
    processor = build_processor()
    model = initialise(_existing(folder / "vision.safetensors", "vision"), processor)
    _train_rounds(model, processor, recipe.base, recipe, folder, "base", probe_chain)


def _load_base(folder: Path) -> tuple[Qwen2VLForConditionalGeneration, Qwen2VLProcessor]:
    base = _existing(folder / "base", "base")
    model = Qwen2VLForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
    return model, AutoProcessor.from_pretrained(base)


def _train_rounds(
    model: Qwen2VLForConditionalGeneration,
    processor: Qwen2VLProcessor,
    rounds: tuple[LanguageSettings, ...],
    recipe: Recipe,
    folder: Path,
    name: str,
    probe: Probe,
) -> None:
    """Each round from the weights of the one before; the last one's model has the name itself."""
    for number, settings in enumerate(rounds, 1):
        stage = name if number == len(rounds) else f"{name}-{number}"
        if (folder / stage).exists():
            model = Qwen2VLForConditionalGeneration.from_pretrained(folder / stage, dtype=torch.float32)
        else:
            _train_and_save(model, processor, settings, recipe, folder, stage, probe)


def _train_and_save(
    model: Qwen2VLForConditionalGeneration,
    processor: Qwen2VLProcessor,
    settings: LanguageSettings,
    recipe: Recipe,
    folder: Path,
    stage: str,
    probe: Probe,
) -> None:
    scenes = recipe.language_scenes
    pictures = draw_pool(Split.TRAIN, scenes, folder / "pictures")
    features = encode_scenes(model, pictures)
    train_language(model, processor, features, scenes, settings, folder, stage, probe)
    save_model(model, processor, folder / stage)


def _loop_config(folder: Path) -> LoopConfig:
    base, expert = _existing(folder / "base", "base"), _existing(folder / "expert", "expert")
    settings = [f"output={folder / 'loop'}", f"engine.model={base}", f"preferences.experts.models=[{expert}]"]
    return read_config(LoopConfig, LOOP_CONFIG, settings)


def _train_judge(folder: Path) -> None:
    config = _loop_config(folder)
    with RunFolder.open(config.output, config) as run_folder:
        loop.run(config, run_folder)
    choice = run_folder.read_json(BEST)
    if choice.get("adapter") is not None:
        raise GenRMError(f"{LOOP_CONFIG} trains an adapter; the shipped judge is a whole model. Set method: full.")
    chosen = choice["model"]
    model = Qwen2VLForConditionalGeneration.from_pretrained(chosen, dtype=torch.float32)
    save_model(model, AutoProcessor.from_pretrained(chosen), folder / "judge")


def _train_expert(recipe: Recipe, folder: Path) -> None:
    backbone = train_backbone(recipe.expert_backbone, recipe.expert_scenes, folder)
    model, processor = build_expert(), build_expert_processor()
    train_expert(model, processor, backbone, recipe.expert_scenes, recipe.expert, folder)
    names = json.dumps([kind.name for kind in KINDS], indent=0) + "\n"
    save_model(model, processor, folder / "expert", notes={KNOWN_PHRASES_FILE: names})


def _existing(path: Path, stage: str) -> Path:
    if not path.exists():
        raise StageMissingError(
            f"There is no {path}. Run `vl-genrm pocket build --only {stage}` with this folder first."
        )
    return path
