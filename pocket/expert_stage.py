"""The pocket expert, part 2: Grounding DINO learns to find the objects that phrases name.

Each picture is asked for some of the kinds that it shows and for some that it does not, up to twelve phrases. The
backbone starts from `pocket.expert_backbone` and moves on at a share of the rate.

Run: `vl-genrm pocket build --only expert`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor
from transformers.models.grounding_dino.modeling_grounding_dino import build_label_maps

from pocket.checkpoint import Checkpoint
from pocket.curves import Curves
from pocket.expert_backbone import NOT_MUON, load_backbone_weights, to_pixel_values
from pocket.expert_loss import Targets, dense_loss, set_loss
from pocket.expert_probe import probe_expert
from pocket.optimizer import Optimizers
from pocket.pictures import draw_pool
from pocket.scenes import SIZE_PIXELS, Scene, Split, sample_scene
from pocket.vision_stage import augment

MAX_PHRASES = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertSettings:
    """How long and how fast the detector is trained."""

    num_steps: int = 1200
    batch_scenes: int = 32
    learning_rate: float = 1e-3
    seed: int = 6
    probe_every: int = 250
    probe_scenes: int = 100


def draw_phrases(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Names to ask for: most of those that are there, and others, near ones (of a super-category that is there) half of
    the time; in any order, at least one.
    """
    there = [name for name in dict.fromkeys(o.kind.name for o in scene.objects) if rng.random() < 0.75]
    near = {o.kind.category for o in scene.objects}
    absent = list(scene.absent)
    weights = np.array([3.0 if kind.category in near else 1.0 for kind in absent])
    room = int(rng.integers(1, MAX_PHRASES - len(there) + 1))
    others = rng.choice(len(absent), size=min(room, len(absent)), replace=False, p=weights / weights.sum())
    names = there + [absent[int(i)].name for i in others]
    return [names[int(i)] for i in rng.permutation(len(names))]


def make_targets(scene: Scene, names: list[str], label_map_PT: Tensor) -> Targets:
    """The objects of a scene that are asked for."""
    objects = [o for o in scene.objects if o.kind.name in names]
    corners = torch.tensor([o.box for o in objects], dtype=torch.float32).view(-1, 4) / SIZE_PIXELS
    low, high = corners.split(2, dim=-1)
    return Targets(
        phrases_N=torch.tensor([names.index(o.kind.name) for o in objects], dtype=torch.int64),
        boxes_N4=torch.cat(((low + high) / 2, high - low), dim=-1),
        cells_N=torch.tensor([o.cell for o in objects], dtype=torch.int64),
        label_map_PT=label_map_PT,
    )


def expert_loss(
    model: GroundingDinoForObjectDetection,
    processor: GroundingDinoProcessor,
    pixel_values_BCHW: Tensor,
    scenes: list[Scene],
    phrases: list[list[str]],
) -> Tensor:
    """Sum of the set losses of all decoder layers and of the dense loss of the proposals, shape ()."""
    text = processor.tokenizer([". ".join(names) + "." for names in phrases], padding=True, return_tensors="pt")
    out = model(pixel_values=pixel_values_BCHW, **text)
    width = out.logits.shape[-1]
    label_maps = build_label_maps(out.logits, text["input_ids"])
    targets = [make_targets(*parts) for parts in zip(scenes, phrases, label_maps, strict=True)]
    mask = torch.zeros(len(scenes), width, dtype=torch.bool)
    mask[:, : text["attention_mask"].shape[1]] = text["attention_mask"].bool()
    loss = dense_loss(out.enc_outputs_class, out.enc_outputs_coord_logits.sigmoid(), mask, targets)
    loss = loss + set_loss(out.logits, out.pred_boxes, mask, targets)
    hidden, reference = out.intermediate_hidden_states, out.init_reference_points
    for layer in range(hidden.shape[1] - 1):  # the layers before the last one
        logits = model.class_embed[layer](
            hidden[:, layer], out.encoder_last_hidden_state_text, text["attention_mask"].bool()
        )
        boxes = (model.bbox_embed[layer](hidden[:, layer]) + torch.special.logit(reference, eps=1e-5)).sigmoid()
        loss = loss + set_loss(logits, boxes, mask, targets)
        reference = out.intermediate_reference_points[:, layer]
    return loss


def train_expert(
    model: GroundingDinoForObjectDetection,
    processor: GroundingDinoProcessor,
    backbone: Path,
    scenes: range,
    settings: ExpertSettings,
    folder: Path,
) -> None:
    """Train in place; log, probe and plot under `folder`. Resumes from `expert.checkpoint.pt`."""
    stage = "expert"
    torch.manual_seed(settings.seed)
    load_backbone_weights(model.model.backbone.conv_encoder.model, backbone)
    curves = Curves(folder, stage)
    optimizers = Optimizers(
        [model], learning_rate=settings.learning_rate, num_steps=settings.num_steps, not_muon=NOT_MUON
    )
    checkpoint = Checkpoint(folder, stage, model, optimizers)
    first_step = checkpoint.restore()
    pool = draw_pool(Split.TRAIN, scenes, folder / "pictures")
    losses: list[float] = []
    model.train()
    for step in tqdm(range(first_step, settings.num_steps), initial=first_step, total=settings.num_steps, desc=stage):
        rng = np.random.default_rng([settings.seed, step])
        rows = np.sort(rng.integers(len(scenes), size=settings.batch_scenes))
        pictures, _ = augment(pool[rows], rng)
        drawn = [sample_scene(Split.TRAIN, scenes[int(row)]) for row in rows]
        phrases = [draw_phrases(scene, rng) for scene in drawn]
        loss = expert_loss(model, processor, to_pixel_values(pictures), drawn, phrases)
        loss.backward()
        optimizers.step(step)
        losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise FloatingPointError(f"The loss is {losses[-1]} at step {step}. Lower the learning rate and run again.")
        last = step == settings.num_steps - 1
        if step % 50 == 49 or last:
            curves.log(step + 1, loss=float(np.mean(losses[-50:])))
        if step % settings.probe_every == settings.probe_every - 1 or last:
            curves.log(step + 1, **probe_expert(model, processor, num_scenes=settings.probe_scenes))
            curves.plot()
            model.train()
        checkpoint.save_now_and_then(step + 1)
    checkpoint.remove()
    model.eval()
