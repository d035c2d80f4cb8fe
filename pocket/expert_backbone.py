"""The pocket expert, part 1: its Swin backbone learns what lies where, before any text.

As for the pocket base (`pocket.vision_stage`), every cell of the grid is classified by the object whose centre it
holds; here it also says the object's box, and every position of the finer level says which object covers it. A
detector that starts from such features has only phrases to learn: trained from nothing, detectors of this family need
many times the steps.

Run: `vl-genrm pocket build --only expert` (both parts).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss
from tqdm import tqdm
from transformers import AutoBackbone

from pocket.checkpoint import Checkpoint
from pocket.curves import Curves
from pocket.expert_architecture import STRIDES, expert_config
from pocket.optimizer import Optimizers
from pocket.pictures import IMAGE_MEAN, IMAGE_STD, draw_pool
from pocket.scenes import CELL_PIXELS, GRID, SIZE_PIXELS, Scene, Split, sample_scene
from pocket.vision_stage import augment
from pocket.vocabulary import KINDS
from training.muon import cpu_has_bfloat16

NO_KIND = len(KINDS)
NOT_MUON = ("relative_position_bias_table", "sampling_offsets", "attention_weights")
"""Tables and offsets that lie in blocks but are no linear maps of features: AdamW moves them."""
_KIND_NUMBER = {kind.name: number for number, kind in enumerate(KINDS)}
_FINE = SIZE_PIXELS // STRIDES[0]
_EMPTY_WEIGHT = 0.4
_COVER_SHARE = 0.8
"""Share of an object's box, around its centre, whose fine positions count as covered by it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneSettings:
    """How long and how fast the backbone is trained alone."""

    num_steps: int = 2000
    batch_scenes: int = 48
    learning_rate: float = 2e-3
    seed: int = 5


class BackboneTrainer(nn.Module):
    """The Swin backbone with heads for kind and box per cell and for the covering kind per fine position."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = AutoBackbone.from_config(expert_config().backbone_config)
        fine, coarse = self.backbone.channels
        self.cover = nn.Linear(fine, NO_KIND + 1)
        self.kind = nn.Linear(coarse, NO_KIND + 1)
        self.box = nn.Sequential(nn.Linear(coarse, coarse), nn.ReLU(), nn.Linear(coarse, 4))

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of covering kinds (B, 144, kinds + 1) and of kinds (B, 36, kinds + 1), and boxes (B, 36, 4) as corners
        in pixels.
        """
        fine, coarse = (f.flatten(2).transpose(1, 2) for f in self.backbone(pixels_BCHW).feature_maps)
        offsets, sizes = self.box(coarse).float().sigmoid().split(2, dim=-1)
        centres = (cell_origins() + offsets) * CELL_PIXELS
        half = sizes * (SIZE_PIXELS / 4)
        return self.cover(fine), self.kind(coarse), torch.cat((centres - half, centres + half), dim=-1)


def cell_origins() -> Tensor:
    """Column and row of each cell, float32 (36, 2)."""
    rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    return torch.stack((columns, rows), dim=-1).view(-1, 2).float()


def to_pixel_values(pictures_BHWC: Tensor) -> Tensor:
    """Float pictures in 0..255 to what the expert's image processor gives, float32 (B, 3, H, W)."""
    scaled = (pictures_BHWC / 255 - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    return scaled.permute(0, 3, 1, 2).contiguous()


def box_labels(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covering kind per fine position (144,), kind per cell (36,), both int64, and box per cell, float32 (36, 4) in
    pixels, zero where there is no object.
    """
    cover, kinds = np.full((_FINE, _FINE), NO_KIND), np.full(GRID * GRID, NO_KIND)
    boxes = np.zeros((GRID * GRID, 4), dtype=np.float32)
    middles = (np.arange(_FINE) + 0.5) * STRIDES[0]
    for placed in scene.objects:  # in the order of drawing: a later one lies on top
        number, reach = _KIND_NUMBER[placed.kind.name], placed.size / 2 * _COVER_SHARE
        kinds[placed.cell], boxes[placed.cell] = number, placed.box
        cover[np.ix_(abs(middles - placed.y) < reach, abs(middles - placed.x) < reach)] = number
    return cover.ravel(), kinds, boxes


def train_backbone(settings: BackboneSettings, scenes: range, folder: Path) -> Path:
    """Train the backbone; write `expert-backbone.safetensors` in `folder` and return its path.

    Resumes from `expert-backbone.checkpoint.pt`; does nothing if the weights are there already.
    """
    stage = "expert-backbone"
    path = folder / f"{stage}.safetensors"
    if path.exists():
        return path
    torch.manual_seed(settings.seed)
    model, curves = BackboneTrainer(), Curves(folder, stage)
    optimizers = Optimizers(
        [model], learning_rate=settings.learning_rate, num_steps=settings.num_steps, not_muon=NOT_MUON
    )
    pool = draw_pool(Split.TRAIN, scenes, folder / "pictures")
    labels = [box_labels(sample_scene(Split.TRAIN, index)) for index in scenes]
    checkpoint = Checkpoint(folder, stage, model, optimizers)
    first_step = checkpoint.restore()
    for step in tqdm(range(first_step, settings.num_steps), initial=first_step, total=settings.num_steps, desc=stage):
        rng = np.random.default_rng([settings.seed, step])
        rows = np.sort(rng.integers(len(scenes), size=settings.batch_scenes))
        pictures, _ = augment(pool[rows], rng)
        cover, kinds, boxes = (
            torch.from_numpy(np.stack(part)) for part in zip(*(labels[r] for r in rows), strict=True)
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
            cover_logits, kind_logits, found = model(to_pixel_values(pictures))
        loss = backbone_loss(cover_logits, kind_logits, found, cover, kinds, boxes)
        loss.backward()
        optimizers.step(step)
        if step % 50 == 49 or step == settings.num_steps - 1:
            full = kinds != NO_KIND
            hits = float((kind_logits.argmax(-1) == kinds)[full].float().mean())
            curves.log(step + 1, loss=loss.item(), object=hits)
        checkpoint.save_now_and_then(step + 1)
    curves.plot()
    save_file(model.backbone.state_dict(), path)
    checkpoint.remove()
    return path


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Put the trained weights into the backbone of an expert."""
    backbone.load_state_dict(load_file(path))


def backbone_loss(
    cover_logits: Tensor, kind_logits: Tensor, found: Tensor, cover: Tensor, kinds: Tensor, boxes: Tensor
) -> Tensor:
    """Cross-entropies of kinds (per object) and of covers (per position), and the boxes' generalised IoU loss; shape
    ().
    """
    each = F.cross_entropy(kind_logits.float().flatten(0, 1), kinds.flatten(), reduction="none")
    full = (kinds != NO_KIND).flatten()
    loss = (each[full].sum() + _EMPTY_WEIGHT * each[~full].sum()) / full.sum().clamp(min=1)
    loss = loss + 0.5 * F.cross_entropy(cover_logits.float().flatten(0, 1), cover.flatten())
    apart = generalized_box_iou_loss(found.flatten(0, 1)[full], boxes.flatten(0, 1)[full], reduction="mean")
    total: Tensor = loss + apart
    return total
