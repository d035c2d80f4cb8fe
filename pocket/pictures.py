"""Pictures of many scenes at once: drawn in parallel, kept on disk as one array, and cut into the patches Qwen2-VL
wants.

The cutting repeats what transformers' Qwen2-VL image processor does for pictures that need no resizing (a test
compares the two); doing it on batches on the training device is what makes the vision stage cheap.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pocket.architecture import MERGE, PATCH_PIXELS
from pocket.drawing import draw_scene
from pocket.scenes import SIZE_PIXELS, Split, sample_scene

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as in Qwen2-VL's processor
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


def draw_pool(split: Split, scenes: range, folder: Path) -> np.ndarray:
    """Pictures of consecutive scenes, uint8 (len(scenes), 168, 168, 3), memory-mapped from `folder`; drawn once."""
    path = folder / f"{split}-{scenes.start}-{scenes.stop}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        pool = np.lib.format.open_memmap(partial, "w+", np.uint8, (len(scenes), SIZE_PIXELS, SIZE_PIXELS, 3))
        jobs = [(split, start, min(start + 250, scenes.stop)) for start in range(scenes.start, scenes.stop, 250)]
        with ProcessPoolExecutor(os.cpu_count()) as executor:
            drawn = tqdm(executor.map(_draw_range, jobs), total=len(jobs), desc=f"draw {split}", unit="×250")
            for (_, start, stop), block in zip(jobs, drawn, strict=True):
                pool[start - scenes.start : stop - scenes.start] = block
        pool.flush()
        partial.rename(path)
    kept: np.ndarray = np.load(path, mmap_mode="r")
    return kept


def _draw_range(job: tuple[Split, int, int]) -> np.ndarray:
    split, start, stop = job
    return np.stack([np.asarray(draw_scene(sample_scene(split, i))) for i in range(start, stop)])


def to_patches(pictures_BHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel values and grid as the vision tower takes them.

    pictures_BHWC: uint8 or float in 0..255, H and W multiples of 28. Returns float32 (B * H/14 * W/14, 1176), patches
    of one 2 x 2 merge block adjacent, and int64 (B, 3) of (1, H/14, W/14).
    """
    batch, height, width, channels = pictures_BHWC.shape
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    x = (pictures_BHWC.float() / 255 - mean) / std
    rows, columns = height // PATCH_PIXELS, width // PATCH_PIXELS
    x = x.view(batch, rows // MERGE, MERGE, PATCH_PIXELS, columns // MERGE, MERGE, PATCH_PIXELS, channels)
    x = x.permute(0, 1, 4, 2, 5, 7, 3, 6)  # B, block row, block column, row in block, column in block, channel, y, x
    x = x.unsqueeze(6).expand(*x.shape[:6], 2, PATCH_PIXELS, PATCH_PIXELS)  # the still picture stands for two frames
    grid = torch.tensor([[1, rows, columns]]).expand(batch, 3)
    return x.reshape(batch * rows * columns, -1), grid
