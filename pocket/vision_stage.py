"""Stage 1 of the recipe: teach the vision tower what lies in each cell of a picture, before any language.

Every merged patch (28 x 28 pixels, later one image token) is classified: the kind of the object whose centre it
holds, the colour of the mat under it, the text of the sign centred there, and its own row and column. Centres rather
than covered area, because then a token *is* an object and counting is counting tokens. The classifier of kinds,
colours and sign texts is a table of word vectors; the language stage starts the embeddings of those words from the
same table, so that its first attention steps already find the dog when asked for one. Without this stage the language
stage sees nothing for thousands of steps.

Run: `vl-genrm pocket build --only vision`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

from pocket.architecture import EMBEDDING_RMS, HIDDEN_SIZE, vision_config
from pocket.checkpoint import Checkpoint
from pocket.curves import Curves
from pocket.optimizer import Optimizers
from pocket.pictures import draw_pool, to_patches
from pocket.scenes import GRID, Scene, Split, sample_scene
from pocket.vocabulary import KINDS, MAT_COLOURS, SIGN_TEXTS
from training.muon import cpu_has_bfloat16

_KIND_NUMBER = {kind.name: number for number, kind in enumerate(KINDS)}
_COLOUR_NUMBER = {colour: number for number, colour in enumerate(MAT_COLOURS)}
_TEXT_NUMBER = {text: number for number, text in enumerate(SIGN_TEXTS)}
NO_KIND, NO_COLOUR, NO_TEXT = len(KINDS), len(MAT_COLOURS), len(SIGN_TEXTS)
EMPTY_WEIGHT = 0.4
IGNORED = -100
_SIZES = {"kind": NO_KIND + 1, "colour": NO_COLOUR + 1, "text": NO_TEXT + 1, "row": GRID, "column": GRID}


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionSettings:
    """How long and how fast the tower is trained."""

    num_steps: int = 3200
    batch_scenes: int = 64
    num_scenes: int = 40_000
    """Training scenes, drawn once and met about num_steps * batch_scenes / num_scenes times with other brightness and
    noise.
    """
    learning_rate: float = 2e-3
    seed: int = 0


class CellClassifier(nn.Module):
    """The vision tower with a linear classifier per question on top of its merged patches."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Qwen2VisionTransformerPretrainedModel(vision_config())
        self.words = nn.ModuleDict({name: nn.Linear(HIDDEN_SIZE, size) for name, size in _SIZES.items()})

    def forward(self, pictures_BHWC: Tensor) -> dict[str, Tensor]:
        """Logits per question, each (B, 36, classes of that question), for uint8 or float pictures (B, 168, 168, 3)."""
        patches, grid = to_patches(pictures_BHWC)
        features = self.tower(patches, grid_thw=grid).pooler_output
        features = features.view(len(pictures_BHWC), GRID * GRID, HIDDEN_SIZE)
        return {name: head(features) for name, head in self.words.items()}


def cell_labels(scene: Scene) -> np.ndarray:
    """Kind, mat colour and sign text per cell, int64 (3, 36); the colour is IGNORED where no object's centre is."""
    labels = np.empty((3, GRID * GRID), dtype=np.int64)
    labels[0], labels[1], labels[2] = NO_KIND, IGNORED, NO_TEXT
    for placed in scene.objects:
        labels[0, placed.cell] = _KIND_NUMBER[placed.kind.name]
        labels[1, placed.cell] = NO_COLOUR if placed.mat is None else _COLOUR_NUMBER[placed.mat]
    if scene.sign is not None:
        labels[2, scene.sign.cell] = _TEXT_NUMBER[scene.sign.text]
    return labels


def train_vision(settings: VisionSettings, folder: Path, *, stage: str, start: Path | None = None) -> Path:
    """Train the tower, write `<stage>.safetensors` in `folder` and return its path.

    stage: name of this round, also of its curves. start: weights to start from; None starts from nothing. Resumes from
    `<stage>.checkpoint.pt`; a round whose weights are there already is not run again.
    """
    path = folder / f"{stage}.safetensors"
    if path.exists():
        return path
    torch.manual_seed(settings.seed)
    model, curves = CellClassifier(), Curves(folder, stage)
    if start is not None:
        model.load_state_dict(load_file(start))
    optimizers = Optimizers([model], learning_rate=settings.learning_rate, num_steps=settings.num_steps)
    pool = draw_pool(Split.TRAIN, range(settings.num_scenes), folder / "pictures")
    labels = np.stack([cell_labels(sample_scene(Split.TRAIN, i)) for i in range(settings.num_scenes)])
    checkpoint = Checkpoint(folder, stage, model, optimizers)
    first_step = checkpoint.restore()
    for step in tqdm(range(first_step, settings.num_steps), initial=first_step, total=settings.num_steps, desc=stage):
        rng = np.random.default_rng([settings.seed, step])
        rows = np.sort(rng.integers(settings.num_scenes, size=settings.batch_scenes))
        targets = torch.from_numpy(labels[rows])
        pictures, colour_lost = augment(pool[rows], rng)
        targets[colour_lost, 1] = IGNORED
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
            logits = model(pictures)
        loss = _loss(logits, targets)
        loss.backward()
        optimizers.step(step)
        if step % 50 == 49 or step == settings.num_steps - 1:
            curves.log(step + 1, loss=loss.item(), **measure_vision(model, Split.DEV, 200, folder / "pictures"))
        checkpoint.save_now_and_then(step + 1)
    curves.plot()
    save_file(model.state_dict(), path)
    checkpoint.remove()
    return path


def load_classifier(path: Path) -> CellClassifier:
    """The trained tower with its classifiers, in evaluation mode."""
    model = CellClassifier()
    model.load_state_dict(load_file(path))
    return model.eval()


def word_vectors(model: CellClassifier) -> dict[str, Tensor]:
    """Vectors of kind names, colours and sign texts as the tower expresses them, float32 (192,), scaled to
    EMBEDDING_RMS.
    """
    names = {"kind": [kind.name for kind in KINDS], "colour": list(MAT_COLOURS), "text": list(SIGN_TEXTS)}
    vectors: dict[str, Tensor] = {}
    for question, words in names.items():
        head = model.words[question]
        assert isinstance(head, nn.Linear)
        weight = head.weight.detach() - head.weight.detach().mean(dim=0)
        for word, row in zip(words, weight, strict=False):  # the last row is "nothing"
            vectors.setdefault(word, row * (EMBEDDING_RMS / row.square().mean().sqrt()))
    return vectors


@torch.inference_mode()
def measure_vision(model: CellClassifier, split: Split, num_scenes: int, pictures_folder: Path) -> dict[str, float]:
    """Shares of object cells named right, of empty cells kept empty, of mats and signs right, over fresh scenes."""
    model.eval()
    right, total = (
        dict.fromkeys(("object", "empty", "colour", "text", "scene"), 0),
        dict.fromkeys(("object", "empty", "colour", "text", "scene"), 0),
    )
    pictures = draw_pool(split, range(num_scenes), pictures_folder)
    for start in range(0, num_scenes, 50):
        labels = torch.from_numpy(
            np.stack([cell_labels(sample_scene(split, i)) for i in range(start, min(start + 50, num_scenes))])
        )
        logits = model(torch.from_numpy(pictures[start : start + 50].copy()))
        found = {name: logits[name].argmax(-1) for name in ("kind", "colour", "text")}
        is_object, is_sign = labels[:, 0] != NO_KIND, labels[:, 2] != NO_TEXT
        for name, mask, good in (
            ("object", is_object, found["kind"] == labels[:, 0]),
            ("empty", ~is_object, found["kind"] == labels[:, 0]),
            ("colour", is_object, found["colour"] == labels[:, 1]),
            ("text", is_sign, found["text"] == labels[:, 2]),
        ):
            right[name] += int(good[mask].sum())
            total[name] += int(mask.sum())
        right["scene"] += int((found["kind"] == labels[:, 0]).all(-1).sum())
        total["scene"] += len(labels)
    model.train()
    return {name: right[name] / max(total[name], 1) for name in right}


def augment(pictures: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures with other brightness, contrast, colour cast and grain, so that the look alone identifies nothing.

    One in five also loses its true colours (grey, mixed channels, negative, or outlines only): shape has to do there.
    Returns pictures, float (B, 168, 168, 3) in 0..255, and which of them lost their colours, bool (B,).
    """
    x = torch.from_numpy(pictures).float()
    size = (len(x), 1, 1, 1)

    def uniform(low: float, high: float, shape: tuple[int, ...] = size) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, size=shape)).float()

    x = (x - 128) * uniform(0.75, 1.25) * uniform(0.88, 1.12, (len(x), 1, 1, 3)) + 128 + uniform(-20, 20)
    lost = torch.from_numpy(rng.random(len(x)) < 0.2)
    for i in lost.nonzero().flatten().tolist():
        style = int(rng.integers(4))
        grey = x[i].mean(dim=-1, keepdim=True)
        if style == 0:
            x[i] = grey
        elif style == 1:
            x[i] = x[i] @ torch.from_numpy(rng.dirichlet((1, 1, 1), size=3)).float().T
        elif style == 2:
            x[i] = 255 - x[i]
        else:
            plane = grey.permute(2, 0, 1)[None]
            outline = (plane - F.avg_pool2d(plane, 5, stride=1, padding=2))[0].permute(1, 2, 0).abs()
            x[i] = (230 - 4 * outline).expand(-1, -1, 3)
    return (x + torch.randn(x.shape) * uniform(0, 10)).clamp(0, 255), lost


def _loss(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Sum of the cross-entropies; full cells weigh 1 and empty ones EMPTY_WEIGHT, divided by the number of full
    ones.
    """

    def weighted(name: str, target: Tensor, nothing: int) -> Tensor:
        each = F.cross_entropy(logits[name].float().flatten(0, 1), target.flatten(), reduction="none")
        full = (target != nothing).flatten()
        return (each[full].sum() + EMPTY_WEIGHT * each[~full].sum()) / full.sum().clamp(min=1)

    batch = len(labels)
    cells = torch.arange(GRID * GRID).expand(batch, -1)
    rows = F.cross_entropy(logits["row"].float().flatten(0, 1), (cells // GRID).flatten())
    columns = F.cross_entropy(logits["column"].float().flatten(0, 1), (cells % GRID).flatten())
    colours = F.cross_entropy(logits["colour"].float().flatten(0, 1), labels[:, 1].flatten())
    kinds, texts = weighted("kind", labels[:, 0], NO_KIND), weighted("text", labels[:, 2], NO_TEXT)
    return kinds + texts + colours + 0.3 * (rows + columns)
