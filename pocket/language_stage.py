"""Stage 2 of the recipe: teach the whole model to speak about what the tower sees; then, each on its own, to answer
shortly (the policy) and to judge.

All of them train the language model on packed tasks (`pocket.tasks`, `pocket.packing`) with next-token loss on the
answers. The vision tower is frozen, so that the features of every scene are computed once; it was trained on other
scenes than these, so they are as good or bad as those of any new picture. The embeddings of names, colours and sign
texts start from the tower's own word vectors.

Run: `vl-genrm pocket build --only base`, `--only policy` and `--only supervised`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transformers import Qwen2VLForConditionalGeneration, Qwen2VLProcessor

from pocket.architecture import EMBEDDING_RMS, build_model
from pocket.checkpoint import Checkpoint
from pocket.curves import Curves
from pocket.optimizer import Optimizers
from pocket.packing import Batch, Packer
from pocket.pictures import draw_pool, to_patches
from pocket.probe import Probe, probe_chain
from pocket.scenes import GRID, Scene, Split, sample_scene
from pocket.tasks import Task, draw_task
from pocket.tokenizer import SPECIAL_TOKENS
from pocket.vision_stage import load_classifier, word_vectors
from pocket.vocabulary import KIND_BY_NAME
from training.muon import cpu_has_bfloat16
from training.packing import use_ordinary_attention, use_packed_attention


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageSettings:
    """How long, how fast and on which tasks the language model is trained."""

    mix: dict[str, float] = field(default_factory=dict)
    """Share of each task; the judging tasks come in sequences of their own, since their system turn differs."""
    num_steps: int
    batch_scenes: int = 16
    tasks_per_scene: int = 5
    look_ups_per_scene: int = 8
    """Look-ups that go with the other tasks of a scene that is not judged: short, and what every other task stands
    on.
    """
    matches_per_scene: int = 0
    """Claims to match with a finding that go with the judging tasks of a scene: the last link of a verdict."""
    learning_rate: float = 2e-3
    embedding_rate_share: float = 0.25
    verdict_smoothing: float = 0.0
    """Share of a verdict's probability that the target gives to the other label. A verdict that copies its own finding
    is as sure as the finding is unsure: smoothing by about the rate of wrong findings keeps the judge honest about it.
    """
    seed: int = 0
    probe_every: int = 250
    probe_rows: int = 120


def initialise(vision: Path, processor: Qwen2VLProcessor) -> Qwen2VLForConditionalGeneration:
    """An untrained language model on the trained tower, both in the same units, with aligned word embeddings."""
    tokenizer = processor.tokenizer
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    model = build_model(vocab_size=len(tokenizer), token_ids=ids)
    classifier = load_classifier(vision)
    model.model.visual.load_state_dict(classifier.tower.state_dict())
    with torch.no_grad():
        pictures = torch.from_numpy(draw_pool(Split.DEV, range(200), vision.parent / "pictures").copy())
        patches, grid = to_patches(pictures[:64])
        features = model.model.visual(patches, grid_thw=grid).pooler_output
        scale = EMBEDDING_RMS * 1.5 / features.square().mean().sqrt()
        last = model.model.visual.merger.mlp[2]
        assert isinstance(last, nn.Linear)
        last.weight.mul_(scale)
        last.bias.mul_(scale)
        table = model.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        embedding = table.weight
        embedding.normal_(std=EMBEDDING_RMS)
        for word, vector in word_vectors(classifier).items():
            forms = {word, KIND_BY_NAME[word].plural} if word in KIND_BY_NAME else {word}
            for form in forms:  # the first word tells the kind: "traffic light", "teddy bear", "hot dog"
                first = tokenizer(f" {form}").input_ids[0]
                embedding[first] = vector + 0.3 * embedding[first]
    return model


@torch.inference_mode()
def encode_scenes(model: Qwen2VLForConditionalGeneration, pictures: np.ndarray) -> Tensor:
    """Image features of every picture, float16 (number of pictures, 36, hidden size)."""
    features = []
    for start in tqdm(range(0, len(pictures), 64), desc="encode", unit="×64"):
        block = torch.from_numpy(pictures[start : start + 64].copy())
        patches, grid = to_patches(block)
        out = model.model.visual(patches, grid_thw=grid).pooler_output
        features.append(out.view(len(block), GRID * GRID, -1).half())
    return torch.cat(features)


def train_language(
    model: Qwen2VLForConditionalGeneration,
    processor: Qwen2VLProcessor,
    features_NTD: Tensor,
    scene_indices: range,
    settings: LanguageSettings,
    folder: Path,
    stage: str,
    probe: Probe = probe_chain,
) -> None:
    """Train in place; log, probe and plot under `folder`. Resumes from `<stage>.checkpoint.pt`.

    features_NTD: image features of the training scenes `scene_indices`, (N, 36, hidden size). probe: what is measured
    now and then, of (model, processor, num_rows=…).
    """
    torch.manual_seed(settings.seed)
    model.requires_grad_()
    model.model.visual.requires_grad_(requires_grad=False)
    model.train()
    curves, packer = Curves(folder, stage), Packer(processor, model)
    optimizers = Optimizers(
        [model],
        learning_rate=settings.learning_rate,
        num_steps=settings.num_steps,
        rest_share=settings.embedding_rate_share,
    )
    checkpoint = Checkpoint(folder, stage, model, optimizers)
    first_step = checkpoint.restore()
    losses: list[float] = []
    for step in tqdm(range(first_step, settings.num_steps), initial=first_step, total=settings.num_steps, desc=stage):
        rng = np.random.default_rng([settings.seed, step])
        rows = rng.integers(len(features_NTD), size=settings.batch_scenes)
        judging = bool(rng.random() < _judging_share(settings))
        batch = packer.pack([_draw_tasks(scene_indices[int(row)], rng, settings, judging=judging) for row in rows])
        use_packed_attention(model)
        loss = language_loss(
            model, batch, features_NTD[torch.from_numpy(rows)].float(), verdict_smoothing=settings.verdict_smoothing
        )
        loss.backward()
        optimizers.step(step)
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise FloatingPointError(f"The loss is {losses[-1]} at step {step}. Lower the learning rate and run again.")
        last = step == settings.num_steps - 1
        if step % 50 == 49 or last:
            curves.log(step + 1, loss=float(np.mean(losses[-50:])))
        if step % settings.probe_every == settings.probe_every - 1 or last:
            use_ordinary_attention(model)
            curves.log(step + 1, **probe(model, processor, num_rows=settings.probe_rows))
            curves.plot()
            model.train()
        checkpoint.save_now_and_then(step + 1)
    checkpoint.remove()
    model.eval()


def language_loss(
    model: Qwen2VLForConditionalGeneration, batch: Batch, features_BTD: Tensor, *, verdict_smoothing: float = 0.0
) -> Tensor:
    """Mean negative log-likelihood of the answer tokens, nats, shape (). The model must use packed attention.

    features_BTD: image features, (B, image tokens, hidden size). verdict_smoothing: probability, in [0, 0.5), that the
    target at a verdict position gives to the other label; 0 trains on the label alone.
    """
    embeddings = model.get_input_embeddings()(batch.ids_T)
    features_ND = features_BTD.flatten(0, 1).to(embeddings.dtype)
    embeddings = embeddings.masked_scatter(batch.image_slots_T[:, None], features_ND)
    with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
        hidden = model.model.language_model(
            inputs_embeds=embeddings[None],
            position_ids=batch.position_ids_3T[:, None],
            use_cache=False,
            blocks=batch.blocks,
        ).last_hidden_state
        logits = model.lm_head(hidden[0, batch.predictors_K])
    targets = batch.targets_K
    losses = F.cross_entropy(logits.float(), targets, reduction="none")
    if verdict_smoothing:
        opposite = targets.clone()
        opposite[batch.is_verdict_K] = sum(batch.verdict_ids) - targets[batch.is_verdict_K]
        swapped = F.cross_entropy(logits.float(), opposite, reduction="none")
        losses = (1 - verdict_smoothing) * losses + verdict_smoothing * swapped
    return losses.mean()


def _judging_share(settings: LanguageSettings) -> float:
    return sum(share for name, share in settings.mix.items() if name.startswith("judge"))


def _draw_tasks(scene_index: int, rng: np.random.Generator, settings: LanguageSettings, *, judging: bool) -> list[Task]:
    """Tasks of one sequence: all with the judging system turn, or all without."""
    scene = sample_scene(Split.TRAIN, scene_index)
    chosen = {name: share for name, share in settings.mix.items() if name.startswith("judge") == judging}
    if judging:
        matches = _draw(scene, rng, {"judge-match": 1.0}, settings.matches_per_scene)
        return matches + _draw(scene, rng, chosen, settings.tasks_per_scene)
    chosen.pop("look-up", None)
    look_ups = _draw(scene, rng, {"look-up": 1.0}, settings.look_ups_per_scene)
    return look_ups + (_draw(scene, rng, chosen, settings.tasks_per_scene - 2) if chosen else [])


def _draw(scene: Scene, rng: np.random.Generator, shares: dict[str, float], num_tasks: int) -> list[Task]:
    mix = {name: share / sum(shares.values()) for name, share in shares.items()}
    return [draw_task(scene, rng, mix) for _ in range(num_tasks)]
